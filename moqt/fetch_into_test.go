package moqt_test

import (
	"errors"
	"io"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/track"
)

// In this file the session fetches.

// readItems reads to the end of a range.
func readItems(t *testing.T, rd *track.FetchReader) (list []string) {
	t.Helper()
	for {
		item, err := rd.Read(t.Context())
		switch {
		case errors.Is(err, io.EOF):
			return list
		case err != nil:
			t.Fatalf("after %v: %v", list, err)
		case item.Kind == track.FetchAbsent:
			list = append(list, "!"+item.To.String())
		case item.Kind == track.FetchUnknown:
			list = append(list, "?"+item.To.String())
		default:
			o := item.Object
			list = append(list, o.Location().String())
			if string(o.Payload) != string(payload(o.Group, int(o.ID))) {
				t.Errorf("object %v has the wrong payload", o.Location())
			}
		}
	}
}

// TestFetchBetweenSessions fetches from a session that publishes.
func TestFetchBetweenSessions(t *testing.T) {
	for _, link := range links {
		for _, tt := range []struct {
			name string
			rng  track.Range
			opt  moqt.FetchOptions
			want []string
		}{
			{"all", track.Range{End: at(5, 0)}, moqt.FetchOptions{}, append(three(0, 1, 3, 4), "?"+lastOf(4))},
			{"descending", track.Range{End: at(6, 0)}, moqt.FetchOptions{Order: track.Descending}, slices.Concat([]string{"?" + lastOf(5)}, three(4), []string{"?" + lastOf(4)}, three(3, 1, 0))},
			{"a part", track.Range{Start: at(0, 2), End: at(3, 1)}, moqt.FetchOptions{}, []string{"{0, 2}", "{1, 0}", "{1, 1}", "{1, 2}", "{3, 0}"}},
		} {
			t.Run(link.name+"/"+tt.name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					client, server := pair(t, link.cfg, moqt.Config{}, moqt.Config{Handler: handler{}})
					tr := track.New(video, track.Info{Local: true}, track.Config{})
					for _, g := range []uint64{0, 1, 3, 4} {
						writeGroup(t, tr, g, 3)
					}
					if _, err := client.Announce(t.Context(), cam, tracks{"video": tr}); err != nil {
						t.Fatal(err)
					}
					_, rd, err := server.Fetch(t.Context(), video, tt.rng, tt.opt)
					if err != nil {
						t.Fatal(err)
					}
					if got := readItems(t, rd); !slices.Equal(got, tt.want) {
						t.Errorf("got %v, want %v", got, tt.want)
					}
				})
			})
		}
	}
}
