// Package track holds live MoQ tracks in memory. A [Track] is the one joint
// between whoever fills it (the embedded publisher, or a session that receives
// the track) and whoever reads it: egress schedulers, viewers, recorders.
//
// # Encode once
//
// A [Subgroup] is an append-only log of object bytes exactly as they stand on
// a subgroup stream behind its header (draft-ietf-moq-transport-18, section
// 11.4.2). One [SubgroupWriter] fills it; any number of cursors, each no more
// than an offset, read it without a copy. What differs from one subscriber to
// the next is only the header of the stream.
//
// Bytes below [Subgroup.Committed] never change. The mark may stand inside the
// payload of an object, so that an object is passed on while it still arrives,
// but never inside an object's header: all that is committed has been checked
// and indexed.
//
// # Memory
//
// Bytes lie in slabs that are written once, never move and belong to the
// garbage collector, so the rate of allocation is that of the input and does
// not depend on the readers. A track is bounded in groups, age and bytes; what
// it charges includes the unused ends of slabs and the index. Eviction turns a
// log into an aborted one, so no cursor waits on it forever.
//
// # What is known
//
// Of every location a track says whether an object is there, whether none is,
// or that it does not know (section 2.1): [Track.Fetch] reads a range so, and
// [Track.Unknown] lists what is to be asked upstream. A [Filler] brings the
// answer, which is cached beside what came live; subscriptions are not told. A
// track claims no absence that its publisher has not stated, unless it is that
// publisher's own (Info.Local).
//
// # Several sources
//
// Streams of two sources that bring the same subgroup are de-duplicated here:
// the first is what readers see, the second is compared with it and goes on where
// the first is cut. A contradiction makes the track malformed for good (section
// 2.4.2).
//
// # Wake-ups
//
// After each commit, new subgroup or end the track calls its notifiers, with
// no lock held. A reader therefore first announces that it is going to sleep,
// then looks at the marks once more, then sleeps; see [Notifier].
package track
