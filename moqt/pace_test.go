package moqt_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/track"
)

const pacedGroups = 200

// pacedOver runs f with a session that can fetch pacedGroups groups of 5 kB, of
// which its tracks hold a tenth.
func pacedOver(t *testing.T, limits moqt.Limits, f func(t *testing.T, c *moqt.Session)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		tr := track.New(video, track.Info{Local: true}, track.Config{MaxGroups: 2 * pacedGroups})
		for g := range uint64(pacedGroups) {
			w, err := tr.Subgroup(track.SubgroupHeader{Group: g, EndOfGroup: true, FirstObject: true})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.WriteObject(track.Object{Payload: bytes.Repeat([]byte{byte(g)}, 5000)}); err != nil {
				t.Fatal(err)
			}
			w.Close()
		}
		c, _ := pair(t, moqttest.Config{},
			moqt.Config{TrackConfig: track.Config{MaxBytes: pacedGroups * 5000 / 10}, Limits: limits},
			moqt.Config{Handler: handler{fetch: func(r *moqt.FetchRequest) { r.Serve(tr) }}})
		f(t, c)
	})
}

// wantAll reads what is left, an object each pause, which must be the groups from
// first on.
func wantAll(t *testing.T, rd *track.FetchReader, first int, pause time.Duration) {
	t.Helper()
	for g := first; g < pacedGroups; g++ {
		item, err := rd.Read(t.Context())
		if err != nil {
			t.Fatalf("before group %d: %v", g, err)
		}
		if item.Kind != track.FetchObject || item.Object.Group != uint64(g) || item.Object.Payload[0] != byte(g) {
			t.Fatalf("read kind %d of %v to %v, want group %d", item.Kind, item.Object.Location(), item.To, g)
		}
		time.Sleep(pause)
	}
}

// A response that is larger than what a track holds is read no faster than by
// whom it is for.
func TestFetchIsPaced(t *testing.T) {
	rng := track.Range{End: track.Location{Group: pacedGroups}}
	fetch := func(t *testing.T, c *moqt.Session) (*track.Track, *track.FetchReader) {
		t.Helper()
		tr, rd, err := c.Fetch(t.Context(), video, rng, moqt.FetchOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return tr, rd
	}
	t.Run("a_slow_reader_gets_all", func(t *testing.T) {
		pacedOver(t, moqt.Limits{}, func(t *testing.T, c *moqt.Session) {
			tr, rd := fetch(t, c)
			time.Sleep(5 * time.Second)
			if n := tr.Bytes(); n > pacedGroups*5000/10 {
				t.Errorf("%d bytes are held", n)
			}
			wantAll(t, rd, 0, 100*time.Millisecond)
		})
	})
	t.Run("being_held_up_is_no_silence", func(t *testing.T) {
		pacedOver(t, moqt.Limits{FetchIdle: time.Second}, func(t *testing.T, c *moqt.Session) {
			_, rd := fetch(t, c)
			wantAll(t, rd, 0, 500*time.Millisecond)
		})
	})
	t.Run("one_at_a_time", func(t *testing.T) {
		pacedOver(t, moqt.Limits{}, func(t *testing.T, c *moqt.Session) {
			_, first := fetch(t, c)
			time.Sleep(time.Second)
			_, second := fetch(t, c) // is not held up, since the first one is
			time.Sleep(time.Second)
			item, err := second.Read(t.Context())
			if err != nil || item.Kind != track.FetchUnknown {
				t.Errorf("the second begins with kind %d of %v, %v, want an unknown range", item.Kind, item.Object.Location(), err)
			}
			wantAll(t, first, 0, 0)
			synctest.Wait() // the first is read to its end, and holds nobody up
			_, third := fetch(t, c)
			time.Sleep(time.Second)
			wantAll(t, third, 0, 10*time.Millisecond)
		})
	})
	t.Run("a_reader_that_is_gone_holds_up_nobody", func(t *testing.T) {
		pacedOver(t, moqt.Limits{}, func(t *testing.T, c *moqt.Session) {
			hole := track.New(video, track.Info{}, track.Config{MaxBytes: pacedGroups * 5000 / 10})
			gone := hole.Fetch(rng, track.Ascending)
			done := make(chan error, 1)
			c.FetchInto(video, rng, moqt.FetchOptions{}, hole.Fill(rng), func(moqt.FetchOK, error) {}, func(err error) { done <- err })
			time.Sleep(9 * time.Second)
			if len(done) > 0 {
				t.Error("the response is over although nobody has read it")
			}
			time.Sleep(3 * time.Second)
			select {
			case err := <-done:
				if err != nil && !strings.Contains(err.Error(), "TOO_FAR_BEHIND") {
					t.Error(err)
				}
			default:
				t.Error("the response is held up for a reader that has not looked for 12 s")
			}
			if item, _ := gone.Next(); item.Kind != track.FetchUnknown {
				t.Errorf("it reads %+v, want an unknown range", item)
			}
		})
	})
	t.Run("cancelled_while_held_up", func(t *testing.T) {
		pacedOver(t, moqt.Limits{}, func(t *testing.T, c *moqt.Session) {
			for range 2 { // the second finds the place free
				hole := track.New(video, track.Info{}, track.Config{MaxBytes: pacedGroups * 5000 / 10})
				rd := hole.Fetch(rng, track.Ascending)
				done := make(chan error, 1)
				cancel := c.FetchInto(video, rng, moqt.FetchOptions{}, hole.Fill(rng), func(moqt.FetchOK, error) {}, func(err error) { done <- err })
				time.Sleep(time.Second)
				if item, _ := rd.Next(); item.Kind != track.FetchObject {
					t.Error("what was not read is gone")
				}
				cancel()
				synctest.Wait()
				select {
				case err := <-done:
					if err == nil {
						t.Error("a response that was cancelled counts as whole")
					}
				default:
					t.Error("it is not over")
				}
				if n := hole.Readers(); n != 0 {
					t.Errorf("%d are told of changes still", n)
				}
			}
		})
	})
}

// What waits for a hole is not waited for by its filling for longer than a look.
func TestFetchIsPacedForWhoIsAhead(t *testing.T) {
	pacedOver(t, moqt.Limits{}, func(t *testing.T, c *moqt.Session) {
		rng := track.Range{End: track.Location{Group: pacedGroups}}
		hole := track.New(video, track.Info{}, track.Config{MaxBytes: pacedGroups * 5000 / 10})
		slow, quick := hole.Fetch(rng, track.Ascending), hole.Fetch(rng, track.Ascending)
		c.FetchInto(video, rng, moqt.FetchOptions{}, hole.Fill(rng), func(moqt.FetchOK, error) {}, func(error) {})
		began := time.Now()
		wantAll(t, quick, 0, 0)
		// It may begin to wait when the filling has just been held up, which then
		// looks again after a second.
		if d := time.Since(began); d > 2*time.Second {
			t.Errorf("a quick reader needed %v", d)
		}
		if item, _ := slow.Next(); item.Kind != track.FetchUnknown {
			t.Errorf("a reader that slept through it gets %v", fmt.Sprint(item.Object.Location()))
		}
	})
}
