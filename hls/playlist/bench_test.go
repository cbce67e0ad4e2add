package playlist

import (
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
)

// BenchmarkParse reads what a puller reads: a multivariant playlist once, a live
// one again and again, and a long one, such as that of an hour of VOD.
//
// Six allocations are left for each segment of the long one: three in hls-m3u8,
// which copies each line that it reads and makes the segment, and three in net/url,
// which resolves the URI. Ours are a dozen for the whole playlist.
func BenchmarkParse(b *testing.B) {
	base, err := url.Parse("https://example.com/live/index.m3u8")
	if err != nil {
		b.Fatal(err)
	}
	var hour strings.Builder
	hour.WriteString("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-TARGETDURATION:4\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-MAP:URI=\"init.mp4\"\n")
	for i := range 900 {
		fmt.Fprintf(&hour, "#EXTINF:4.000,\nseg%d.m4s\n", i)
	}
	hour.WriteString("#EXT-X-ENDLIST\n")
	for _, tt := range []struct{ name, text string }{
		{"multivariant", file(b, "multivariant.m3u8")},
		{"live", file(b, "live.m3u8")},
		{"segments=900", hour.String()},
	} {
		b.Run(tt.name, func(b *testing.B) {
			b.SetBytes(int64(len(tt.text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(base, []byte(tt.text)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func file(b *testing.B, name string) string {
	b.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		b.Fatal(err)
	}
	return string(text)
}
