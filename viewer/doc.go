// Package viewer turns a MoQ broadcast back into a cmaf.Broadcast: it reads the
// catalog, subscribes to the tracks and hands on their chunks, in decode order
// within a track and interleaved by time across tracks.
//
// A live viewer starts at the current group and skips a group that is late
// while a newer one is there. A lossless one, for recorders, starts all tracks
// at one group that begins with a random access point of video, and then never
// skips what the relay still has. Both report what is missing: group numbers
// that the publisher did not declare as skipped, groups that were cut, groups
// that were skipped.
//
// A broadcast without that catalog is viewed by the one of simple players
// (".catalog", with its init-first views), or else by its single track
// ("broadcast"), of whose byte stream the tracks are made. A Single hands that
// stream on in pieces, the header first, for programs that want no more.
//
// Media time never goes back for the receiver. Where a publisher starts over
// from an earlier time, every later time is moved by whole seconds, after a
// Discontinuity.
package viewer
