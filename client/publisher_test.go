package client

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
)

// groups returns what a track has, as the IDs of the objects of each group.
func groups(t *testing.T, tr *track.Track) (lines []string) {
	t.Helper()
	for _, g := range tr.Groups() {
		var line strings.Builder
		subgroups, _ := tr.Since(0)
		for _, s := range subgroups {
			if s.Header().Group != g.ID {
				continue
			}
			for i := range s.Objects() {
				o, ok := s.Load(i)
				if !ok {
					t.Fatalf("object %d of group %d is not there", i, g.ID)
				}
				if o.ID == 0 {
					line.WriteString("init")
				} else {
					line.WriteByte(o.Payload[len(o.Payload)-1])
				}
			}
		}
		lines = append(lines, line.String())
	}
	return lines
}

// TestGroups shows where groups begin.
func TestGroups(t *testing.T) {
	video, audio, both := header(t, "video.mp4"), header(t, "audio.mp4"), header(t, "tracks.mp4")
	const as = 48000
	letters := func(id uint32, scale int64, raps, text string) (chunks [][]byte) {
		for i, c := range text {
			chunks = append(chunks, fragment(id, int64(i)*scale/4, strings.ContainsRune(raps, c), string(c)))
		}
		return chunks
	}
	for _, tt := range []struct {
		name   string
		chunks [][]byte
		want   string
	}{
		{"a key frame each second", append([][]byte{video}, letters(1, ticks, "aei", "abcdefghij")...), "initabcd initefgh initij"},
		{"a key frame each half second", append([][]byte{video}, letters(1, ticks, "acegi", "abcdefghij")...), "initabcd initefgh initij"},
		{"key frames that come late", append([][]byte{video}, letters(1, ticks, "ag", "abcdefghij")...), "initabcdef initghij"},
		{"audio alone", append([][]byte{audio}, letters(1, as, "abcdefghij", "abcdefghij")...), "initabcd initefgh initij"},
		{"the same header again", append(append([][]byte{video}, letters(1, ticks, "a", "ab")...), video, fragment(1, ticks/2, false, "c")), "initabc"},
		{"another header", append(append([][]byte{video}, letters(1, ticks, "a", "ab")...), both, fragment(1, ticks/2, true, "c")), "initab initc"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGrouper(track.Name{Namespace: track.MustNamespace("publish", "x"), Name: "broadcast"}, time.Unix(1000, 0), track.Config{})
			for _, c := range tt.chunks {
				if err := g.write(c, nil); err != nil {
					t.Fatal(err)
				}
			}
			g.finish()
			if got := strings.Join(groups(t, g.track), " "); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if first := g.track.Groups()[0].ID; first != 1_000_000 {
				t.Errorf("the first group is %d, want the time in ms", first)
			}
		})
	}
}

// A publisher that closes for the network's sake is one that may come back: its
// viewers are not told that the broadcast is complete.
func TestCloseForNetwork(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.open("good")
		if err := p.Write(header(t, "video.mp4")); err != nil {
			t.Fatal(err)
		}
		v := w.view(w.streams(), ViewerConfig{Play: "lv_1"})
		write(t, p, "Abc")
		v.expect(100*time.Millisecond, "init A b c")
		if reason, err := p.Close(Network); reason != Network || err != nil {
			t.Errorf("%s, %v", reason, err)
		}
		if code, _, _ := p.out.track.Ended(); code == track.DoneTrackEnded {
			t.Error("the track has ended as if all were there")
		}
		again := w.open("good")
		if err := again.Write(header(t, "video.mp4")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		write(t, again, "Klm")
		v.expect(3*time.Second, "K l m") // the header is the same
		again.Close(Finished)
		v.ends(Complete, false)
	})
}

// Opening ends with its context, and with Close before the relay is there.
func TestOpenEnds(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.cut(true)
		gone := errors.New("nobody waits")
		ctx, cancel := context.WithTimeoutCause(t.Context(), 2*time.Second, gone)
		defer cancel()
		began := time.Now()
		if _, err := w.streams().OpenPublisher(ctx, PublisherConfig{Input: "lv_1"}); !errors.Is(err, gone) || time.Since(began) != 2*time.Second {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		p, err := w.streams().Publisher(PublisherConfig{Input: "lv_1"})
		if err != nil {
			t.Fatal(err)
		}
		w.wg.Go(func() { p.Run(t.Context()) })
		time.Sleep(time.Second)
		if reason, err := p.Close(""); reason != ClosedByCaller || err != nil {
			t.Errorf("%s, %v", reason, err)
		}
		if _, err := p.Run(t.Context()); err == nil {
			t.Error("a publisher runs twice")
		}
		synctest.Wait()
	})
}

// What the relay does not take is let go of, oldest first, and a group without end
// is cut in two.
func TestWriteIsBounded(t *testing.T) {
	const most, group, size = 1 << 20, 512 << 10, 16 << 10
	g := newGrouper(track.Name{Namespace: track.MustNamespace("publish", "x"), Name: "broadcast"}, time.Now(), track.Config{MaxBytes: most, MaxGroupBytes: group})
	if err := g.write(header(t, "video.mp4"), nil); err != nil {
		t.Fatal(err)
	}
	data := strings.Repeat("x", size)
	for i := range 400 {
		// Ten pictures a group at first, then one key frame and no more.
		if err := g.write(fragment(1, int64(i)*ticks/10, i <= 200 && i%10 == 0, data), nil); err != nil {
			t.Fatal(err)
		}
		if kept := g.track.Bytes(); kept > most+2*group {
			t.Fatalf("%d KiB are kept", kept>>10)
		}
	}
	if g.track.Groups()[0].Bytes > group {
		t.Errorf("the first group has %d bytes", g.track.Groups()[0].Bytes)
	}
	first := g.header
	if err := g.write([]byte(box("ftyp", "")+box("moov", "nothing")), nil); !errors.Is(err, ErrChunk) || string(g.header) != string(first) {
		t.Errorf("a broken header: %v", err)
	}
	if err := g.write(fragment(1, 41*ticks, true, "y"), nil); err != nil {
		t.Errorf("after a broken header: %v", err)
	}
}
