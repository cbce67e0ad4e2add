// Package playlist reads HLS playlists.
//
// Parse takes one playlist, multivariant or media, and returns it in types of
// our own with every URI resolved and everything that carries over from line to
// line (maps, keys, byte ranges, sequence numbers) spelt out at each segment. The
// tags themselves are read by Eyevinn/hls-m3u8; a scan of the lines ahead of it
// applies the bounds, refuses what the library would misread or stumble over,
// and knows which line a fault is on.
//
// Sources: RFC 8216 and draft-pantos-hls-rfc8216bis.
package playlist
