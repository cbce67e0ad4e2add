// Package streams takes in the publishers of the streams contract's simple
// clients: MoQ sessions that publish a namespace with nothing but the track
// "broadcast", whose objects together are a byte stream of boxes.
//
// A Bridge watches the relay for them. It reads the track from the session,
// takes the stream apart, whatever objects it was cut into, and feeds its
// tracks to the ingest under the same name, as any other input does. So the
// broadcast gets a catalog, tracks that can be chosen, and a single track in
// which every group opens with the header, and the rules of inputs hold: one
// that returns within the grace continues the broadcast, and the newest input
// of a name has it.
//
// A session that offers a catalog is left alone; the relay passes its tracks on
// as they are. What a publisher hints at in track properties (capability,
// schema_tag) is not needed: the stream says it all.
package streams
