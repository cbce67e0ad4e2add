// Package sessions serves the sessions contract at /api/v1/streaming: sessions
// of inputs with their live state, the Prometheus export, and the ICE
// candidates of a session.
//
// A session is one run of an input. What its protocol is called here follows the
// contract: webrtc, srt, rtmp, omt; sessions of other kinds are found by their
// id, and listed when they are asked for.
//
// There is no logic here: what is asked is handed to internal/control, and what
// it says is given the contract's shape.
package sessions
