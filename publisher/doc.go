// Package publisher turns a broadcast into MoQ tracks: a cmaf.Broadcast on one
// side, a track.Source on the other.
//
// An object is one CMAF chunk. A group has one subgroup, 0, whose object IDs
// run from 0; all tracks of a broadcast share the numbering of groups. The
// track "catalog" describes them.
//
// # Groups
//
// With D the group duration, a group begins at each random access point of the
// first video track that comes at least D after the group before began; where
// there is no video, every D. Its number is one more than the last. At the
// start, and after a hole in media time or a Discontinuity, it is
// max(last + 1, floor(PTS / D)), so that numbers rise across restarts, even of
// a publisher that remembers nothing, as long as media time is based on UTC. A
// Timeline sees to that. Numbers that are skipped are declared with
// PRIOR_GROUP_ID_GAP. What comes before the first random access point belongs
// to the first group: nothing is dropped.
//
// # Catalog
//
// The first catalog waits until every track has brought a chunk, at most 2 s,
// and media waits for the catalog. After that the whole catalog is published
// again every 2 s, because stock clients join at the newest group and fetch
// nothing, and at once when it changes: with a track's new header before the
// first chunk that needs it.
//
// # Views
//
// The track ".catalog" says the same for players that want little. It names
// views of the tracks ("init/video"), in which every group opens with the
// track's header as object 0; the track "broadcast" has all tracks in one, each
// group opening with the header of all. In both, the header is subgroup 0 with
// priority 0, and media subgroup 1, because a subgroup has one priority.
//
// A view is made when somebody asks for it, with the current group in it, and
// forgotten when nobody has read it for 10 s.
//
// Sources: draft-ietf-moq-transport-18 sections 2, 11 and 12.8;
// draft-ietf-moq-msf-01 sections 5, 6 and 11; draft-ietf-moq-cmsf-01 section 3.
package publisher
