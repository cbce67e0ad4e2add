package pull

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A start-over playlist of six hours is begun at its edge, not where it begins:
// within three target durations of its end, and without asking for more.
func TestStartOver(t *testing.T) {
	kinds(t, func(t *testing.T, kind string) {
		o, segment := clip(t, kind)
		const hours = 6 * 3600 // segments of a second
		began := time.Now()
		o.hook = func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/live.m3u8" {
				return false
			}
			n := min(int(time.Since(began)/time.Second), 2)
			var b strings.Builder
			b.WriteString(strings.TrimSuffix(list(kind, segment, 0, "#EXT-X-PLAYLIST-TYPE:EVENT"), "\n") + "\n")
			for i := range hours {
				fmt.Fprintf(&b, "#EXTINF:1,\nold%d.bin\n", i)
			}
			for i := range 6 + n {
				fmt.Fprintf(&b, "#EXTINF:1,\n%s\n", segment(i))
			}
			if n == 2 {
				b.WriteString(endlist)
			}
			fmt.Fprint(w, b.String())
			return true
		}
		c := &capture{}
		if err := o.puller(t, "/live.m3u8", Config{}).Run(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		// Segments 3 to 7: begun three before the end of 0 to 5.
		if got := c.track(t, "video").runs(); got != "50" {
			t.Errorf("pictures %s, want 50 in one run", got)
		}
		for _, path := range o.log {
			if strings.HasPrefix(path, "/old") || path == "/"+segment(2) {
				t.Errorf("asked for %s", path)
			}
		}
	})
}

// An origin that is away for a while, but not for longer than what it lists,
// costs no media: each segment comes once, in one run.
func TestOutage(t *testing.T) {
	for _, away := range []struct {
		name string
		all  bool // segments fail, too
	}{{"playlists", false}, {"everything", true}} {
		t.Run(away.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o, segment := clip(t, "ts")
				began := time.Now()
				o.hook = func(w http.ResponseWriter, r *http.Request) bool {
					d := time.Since(began)
					isList := r.URL.Path == "/live.m3u8"
					if d > 2500*time.Millisecond && d < 5500*time.Millisecond && (isList || away.all) {
						w.WriteHeader(http.StatusBadGateway)
						return true
					}
					if !isList {
						return false
					}
					n := min(4+int(d/time.Second), 12)
					lines := []any{span(max(0, n-6), n)}
					if n == 12 {
						lines = append(lines, endlist)
					}
					fmt.Fprint(w, list("ts", segment, max(0, n-6), lines...))
					return true
				}
				c := &capture{}
				if err := o.puller(t, "/live.m3u8", Config{}).Run(t.Context(), c); err != nil {
					t.Fatal(err)
				}
				if got := c.track(t, "video").runs(); got != "110" { // segments 1 to 11
					t.Errorf("pictures %s, want 110 in one run: %q", got, c.log)
				}
			})
		})
	}
}
