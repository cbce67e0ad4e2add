package ingest

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
)

// feed sends a second of media each second on tracks, n in all, of which every so
// many begin a group.
func feed(t *testing.T, n int, from int64, every int, sinks ...cmaf.Sink) {
	t.Helper()
	for i := range int64(n) {
		ch := second(from + 10*i)
		ch.RAP = int(i)%every == 0
		for _, s := range sinks {
			if err := s.WriteChunk(ch); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
	}
}

// ofCam returns what the broadcast cam was told.
func ofCam(o *fakeOpener) (lines []string) {
	for _, l := range o.take() {
		if strings.HasPrefix(l, "cam") {
			lines = append(lines, l)
		}
	}
	return lines
}

func backedConfig() Config {
	return Config{Limits: func(name string) Limits {
		if name == "cam" {
			return Limits{Backup: "spare"}
		}
		return Limits{Backup: "cam"} // each the other's
	}}
}

func TestBackup(t *testing.T) {
	bubble(t, backedConfig(), func(t *testing.T, r *Registry, o *fakeOpener) {
		spare := addTrack(t, r.Connect("spare", Peer{Addr: "s"}), "video", "h")
		cam := r.Connect("cam", Peer{Addr: "a"})
		own := addTrack(t, cam, "video", "h")
		feed(t, 3, 0, 1, own, spare)
		checkCam(t, o, "cam add video h", "cam/video chunk 0", "cam/video chunk 10", "cam/video chunk 20")

		// It stalls. The spare begins groups every third second, and goes out from
		// the first that begins when 2 s have passed.
		feed(t, 6, 1000, 3, spare)
		checkCam(t, o, "cam discontinuity", "cam/video chunk 1030", "cam/video chunk 1040", "cam/video chunk 1050")

		// It is back, but has to prove itself; both go on.
		feed(t, 2, 500, 1, own, spare)
		checkCam(t, o, "cam/video chunk 500", "cam/video chunk 510") // the spare's
		feed(t, 3, 520, 1, own, spare)
		checkCam(t, o, "cam discontinuity", "cam/video chunk 520", "cam/video chunk 530", "cam/video chunk 540")
	})
}

func checkCam(t *testing.T, o *fakeOpener, want ...string) {
	t.Helper()
	if got := ofCam(o); !slices.Equal(got, want) {
		t.Errorf("the broadcast was told %q,\nwant %q", got, want)
	}
}

// The input is lost for longer than its grace; its broadcast goes on, with the
// tracks of the backup, and takes the input back when it returns with another codec.
func TestBackupOutlastsTheGrace(t *testing.T) {
	bubble(t, backedConfig(), func(t *testing.T, r *Registry, o *fakeOpener) {
		spare := addTrack(t, r.Connect("spare", Peer{Addr: "s"}), "video", "other")
		cam := r.Connect("cam", Peer{Addr: "a"})
		own := addTrack(t, cam, "video", "h")
		sound, err := cam.AddTrack("audio", cmaf.Header{Init: []byte("a"), Kind: cmaf.KindAudio, Timescale: 10})
		if err != nil {
			t.Fatal(err)
		}
		feed(t, 2, 0, 1, own, sound, spare)
		o.take()
		cam.Pause(0)
		feed(t, 7, 1000, 5, spare)
		checkCam(t, o, "cam discontinuity", "cam/video close", "cam add video other", "cam/video chunk 1050", "cam/video chunk 1060")
		feed(t, 30, 1070, 1, spare)
		if list := r.Sessions(); len(list) != 2 {
			t.Fatalf("Sessions = %+v, want cam too", list)
		}
		if lines := ofCam(o); !slices.Contains(lines, "cam/audio close") {
			t.Errorf("the sound that the backup lacks was not closed: %q", lines)
		}

		cam = r.Connect("cam", Peer{Addr: "b"})
		own = addTrack(t, cam, "video", "new")
		feed(t, 2, 0, 1, own, spare)
		checkCam(t, o, "cam/video chunk 0", "cam/video chunk 10") // the spare's
		feed(t, 1, 20, 1, own)
		checkCam(t, o, "cam discontinuity", "cam/video close", "cam add video new", "cam/video chunk 20")

		// Both are lost: the broadcast ends.
		cam.Pause(0)
		time.Sleep(time.Minute)
		synctest.Wait()
		checkCam(t, o, "cam/video close", "cam end lost")
		if n := r.backups.Load(); n != 1 || len(r.backed) != 1 { // the spare's own
			t.Errorf("%d sessions with a backup are left, %v", n, r.backed)
		}
	})
}

// A segment every six seconds is no stall, and its absence is one.
func TestBackupKnowsSegments(t *testing.T) {
	bubble(t, backedConfig(), func(t *testing.T, r *Registry, o *fakeOpener) {
		spare := addTrack(t, r.Connect("spare", Peer{Addr: "s"}), "video", "h")
		cam := r.Connect("cam", Peer{Addr: "a"})
		own := addTrack(t, cam, "video", "h")
		dts := int64(0)
		for range 10 {
			for range 6 {
				write(t, own, dts)
				dts += 10
			}
			cam.Pause(cam.Media())
			feed(t, 6, 1000+dts, 1, spare)
		}
		if lines := ofCam(o); slices.Contains(lines, "cam discontinuity") {
			t.Errorf("the backup went out between segments: %q", lines)
		}
		feed(t, 4, 5000, 1, spare)
		if lines := ofCam(o); !slices.Contains(lines, "cam discontinuity") {
			t.Errorf("the backup did not go out when the next segment stayed away: %q", lines)
		}
	})
}

// A backup that does not send changes nothing, and an end that is asked for is one.
func TestBackupThatIsNotThere(t *testing.T) {
	bubble(t, backedConfig(), func(t *testing.T, r *Registry, o *fakeOpener) {
		cam := r.Connect("cam", Peer{Addr: "a"})
		write(t, addTrack(t, cam, "video", "h"), 0)
		cam.Pause(0)
		time.Sleep(5001 * time.Millisecond)
		synctest.Wait()
		checkLines(t, o, "open cam", "cam add video h", "cam/video chunk 0", "cam/video close", "cam end lost")

		spare := addTrack(t, r.Connect("spare", Peer{Addr: "s"}), "video", "h")
		cam = r.Connect("cam", Peer{Addr: "a"})
		write(t, addTrack(t, cam, "video", "h"), 0)
		feed(t, 4, 0, 1, spare)
		ofCam(o)
		r.End("cam")
		feed(t, 4, 40, 1, spare)
		checkCam(t, o, "cam/video close", "cam end")
	})
}

func TestRhythm(t *testing.T) {
	for _, tt := range []struct {
		name  string
		burst int // seconds of media that come at once
		drift time.Duration
		want  time.Duration // from the last arrival to when the next is due
	}{
		{"as it is made", 1, 0, 0},
		{"segments of 6 s", 6, 0, 5 * time.Second},
		{"its clock is fast", 1, 100 * time.Microsecond, 0},
		{"its clock is slow", 1, -100 * time.Microsecond, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var r rhythm
			now, media := time.Unix(1e9, 0), time.Duration(0)
			for range 3600 / tt.burst { // an hour
				now = now.Add(time.Duration(tt.burst) * time.Second)
				for range tt.burst {
					media += time.Second + tt.drift
					r.add(now, media)
				}
			}
			if got := r.due.Sub(now); (got - tt.want).Abs() > 10*time.Millisecond {
				t.Errorf("the next is due %v after the last, want %v", got, tt.want)
			}
			r.add(now, media-time.Hour) // a jump
			if got := r.due.Sub(now); got != 0 {
				t.Errorf("after a jump the next is due in %v, want 0", got)
			}
		})
	}
}
