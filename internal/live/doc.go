// Package live is the running side of sessions: it knows what each broadcast
// that comes in does now and did within the last hour, counts its viewers, and
// carries out what is decided about it while it runs.
//
// A Service is the ingest.Opener in front of the one that publishes. What it
// opens is metered chunk by chunk, and held up while the session is paused.
// Broadcasts that come from MoQ publishers with a catalog of their own do not
// pass through it; it follows those at the relay.
//
// Meters are step functions: chunks and the time come in. Run drives them once
// a second.
package live
