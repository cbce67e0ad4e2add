// Package trpc serves the control plane of the streams contract at
// /api/trpc/<procedure>: live inputs, signing keys, API keys, assets and
// analytics, in the wire form of tRPC's stock HTTP clients.
//
// Queries are GET ?input=<JSON>, mutations POST with a JSON body; a call is
// answered with {"result":{"data":…}} or {"error":{message, code, data}}. With
// ?batch=1 the path names several procedures, joined by commas, the input is an
// object of their inputs by position, and the answer an array.
//
// There is no logic here: a procedure reads its input, calls internal/control,
// and writes the row that the contract shows.
package trpc
