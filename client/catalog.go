package client

import "github.com/broadcastd/broadcastd/cmaf/catalog"

// A Catalog describes the tracks of a broadcast: the document of its track
// ".catalog".
type Catalog = catalog.Playback

// A CatalogTrack is one of its tracks.
type CatalogTrack = catalog.PlaybackTrack

// ParseCatalog reads a catalog of at most 1 MiB and 64 tracks. Unknown fields are
// ignored; the error names the field.
func ParseCatalog(b []byte) (Catalog, error) { return catalog.ParsePlayback(b) }

// MSEType returns the type for a SourceBuffer of Media Source Extensions, such as
// `video/mp4; codecs="avc1.64001f"`.
func MSEType(t CatalogTrack) string { return t.MSEType() }

// VideoTrack returns the first video track of a catalog.
func VideoTrack(c Catalog) (CatalogTrack, bool) { return c.VideoTrack() }

// AudioTrack returns the first audio track of a catalog.
func AudioTrack(c Catalog) (CatalogTrack, bool) { return c.AudioTrack() }
