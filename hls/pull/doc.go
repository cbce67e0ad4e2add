// Package pull feeds a cmaf.Broadcast from a remote HLS presentation.
//
// A Puller is an ingest.Source. It reads live presentations and VOD, fMP4 and
// MPEG-TS segments, and of a multivariant playlist the renditions that are asked
// for, each on a goroutine of its own. What they bring goes out at the pace at
// which it plays: HLS comes in lumps of a segment, and viewers of a live
// broadcast would otherwise get it in lumps too. VOD goes out from its start,
// live from three target durations before the end of the playlist.
//
// # What keeps renditions together
//
// Chunks of all tracks go out in the order of their decode times. Times are
// those of the media, in all renditions on one timeline, and are not rewritten.
// Where the presentation is discontinuous, by its tags or because its sequence
// numbers began anew, no rendition goes on before all have come that far, and
// then the Broadcast is told once.
//
// # What is done about trouble
//
// Requests that fail are repeated with a growing, jittered wait. A segment that
// stays away is skipped, as one marked EXT-X-GAP is, and leaves a hole of its
// length. A playlist that moved on past what was due is taken up where it now
// begins; one that was set back is joined anew. One that no longer changes ends
// the pull with ErrStale. Every fault names the request that it came from by
// URL without userinfo and query, because those carry secrets.
//
// # What others may have it do
//
// Playlists and redirects name hosts: Config.Dial decides which may be reached,
// at most five redirects are followed, none away from https, and Config.Headers
// go to the host of the presentation's own URL and to no other.
//
// AES-128 is read, SAMPLE-AES and DRM are refused. Packed audio and partial
// segments are not read yet.
//
// Sources: RFC 8216 and draft-pantos-hls-rfc8216bis (sections 6.3 above all).
package pull
