package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/cmaf/catalog"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/test/harness"
)

// A sessionRow is what the API says of a session, as far as it is looked at here.
type sessionRow struct {
	SessionID, Protocol, Status string
	Viewers, PeakViewers        int
	Quality                     struct{ TargetLatency int }
	Connection                  struct {
		State, UserAgent, RemoteAddress string
		RTTMs                           float64
	}
	Metrics struct {
		Video struct {
			BitrateKbps, FrameRate float64
			Width, Height          int
			Codec                  string
			KeyframeIntervalMs     float64
		}
		Audio   struct{ BitrateKbps float64 }
		Network struct {
			BytesReceived     uint64
			IngestToPublishMs float64
		}
	}
}

// An operator asks the API of a daemon with the admin key.
type operator struct {
	t   *testing.T
	d   *harness.Daemon
	key string
}

func newOperator(t *testing.T, d *harness.Daemon) operator {
	t.Helper()
	key, err := os.ReadFile(filepath.Join(d.StateDir, "admin.key"))
	if err != nil {
		t.Fatal(err)
	}
	return operator{t, d, strings.TrimSpace(string(key))}
}

func (o operator) call(method, path, body string, want int) string {
	o.t.Helper()
	status, text := fetch(o.t, method, "http://"+o.d.HTTP+"/api/v1"+path, strings.NewReader(body), "Authorization", "Bearer "+o.key, "Content-Type", "application/json")
	if status != want {
		o.t.Fatalf("%s %s: %d %s, want %d", method, path, status, text, want)
	}
	return text
}

func (o operator) session(id string) (s sessionRow) {
	o.t.Helper()
	if err := json.Unmarshal([]byte(o.call(http.MethodGet, "/streaming/sessions/"+id, "", http.StatusOK)), &s); err != nil {
		o.t.Fatal(err)
	}
	return s
}

// find returns the session of an input that runs.
func (o operator) find(input string) (id string) {
	o.t.Helper()
	harness.Eventually(o.t, 15*time.Second, "a session of "+input, func(context.Context) error {
		var list struct {
			Items []struct{ SessionID, Input, Status string }
		}
		if err := json.Unmarshal([]byte(o.call(http.MethodGet, "/sessions", "", http.StatusOK)), &list); err != nil {
			return err
		}
		for _, s := range list.Items {
			if s.Input == input && s.Status == "live" {
				id = s.SessionID
				return nil
			}
		}
		return fmt.Errorf("have %+v", list)
	})
	return id
}

// An onlooker reads the video and the catalogs of a broadcast.
type onlooker struct {
	objects  chan track.Location // of the video, as they come
	catalogs chan catalog.Catalog
	ended    chan struct{} // closed at the end of the video
}

func lookOn(t *testing.T, d *harness.Daemon, ns track.Namespace) onlooker {
	t.Helper()
	s := dialMoQ(t, d, "moqt")
	w := onlooker{make(chan track.Location, 10_000), make(chan catalog.Catalog, 100), make(chan struct{})}
	read := func(name string, object func(track.Location, []byte), done func()) {
		sub, err := s.Subscribe(t.Context(), track.Name{Namespace: ns, Name: name}, track.SubscribeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			defer done()
			r := sub.Track().NewReader(track.CurrentGroup)
			for {
				g, err := r.NextGroup(t.Context())
				if err != nil {
					return
				}
				for {
					o, err := g.Next(t.Context())
					if err != nil {
						break
					}
					object(track.Location{Group: g.ID(), Object: o.ID}, o.Payload)
				}
			}
		}()
	}
	read(catalog.TrackName, func(_ track.Location, b []byte) {
		if c, err := catalog.Parse(b); err == nil {
			w.catalogs <- c
		}
	}, func() {})
	read("video", func(l track.Location, _ []byte) { w.objects <- l }, func() { close(w.ended) })
	return w
}

// next returns the next object of the video.
func (w onlooker) next(t *testing.T) track.Location {
	t.Helper()
	select {
	case l := <-w.objects:
		return l
	case <-time.After(10 * time.Second):
		t.Fatal("no picture came within 10 s")
		return track.Location{}
	}
}

// quiet waits until nothing has come for a second, and returns the last.
func (w onlooker) quiet(t *testing.T) (last track.Location) {
	t.Helper()
	limit := time.After(10 * time.Second)
	for {
		select {
		case last = <-w.objects:
		case <-time.After(time.Second):
			return last
		case <-limit:
			t.Fatal("pictures still come")
		}
	}
}

// TestSession drives a session through the API while an encoder sends and a viewer
// watches: what it shows is so, and what is changed happens.
func TestSession(t *testing.T) {
	t.Parallel()
	d := harness.Start(t, harness.Options{})
	api := newOperator(t, d)
	push := d.Push(t, "cam", harness.TestPicture{})
	id := api.find("cam")
	d.WaitLive(t, "stream/local/cam", 10*time.Second)
	w := lookOn(t, d, track.MustNamespace("stream", "local", "cam"))
	w.next(t)

	harness.Eventually(t, 10*time.Second, "figures of a viewer", func(context.Context) error {
		s := api.session(id)
		v := s.Metrics.Video
		switch {
		case s.Connection.RTTMs <= 0: // as the kernel tells
		case s.Status != "live" || s.Protocol != "fmp4" || s.Connection.State != "connected" || !strings.HasPrefix(s.Connection.UserAgent, "Lavf/"):
		case s.Viewers != 1 || s.PeakViewers != 1:
		case v.Width != 640 || v.Height != 360 || v.FrameRate < 29 || v.FrameRate > 31 || v.BitrateKbps < 100 || !strings.HasPrefix(v.Codec, "avc1.") || v.KeyframeIntervalMs != 1000:
		case s.Metrics.Audio.BitrateKbps < 1 || s.Metrics.Network.BytesReceived == 0:
		default:
			return nil
		}
		return fmt.Errorf("have %+v", s)
	})

	api.call(http.MethodPatch, "/streaming/sessions/"+id, `{"quality":{"targetLatency":700}}`, http.StatusOK)
	for told := false; !told; {
		select {
		case c := <-w.catalogs:
			told = len(c.Tracks) > 0 && c.Tracks[0].TargetLatency == 700
		case <-time.After(5 * time.Second):
			t.Fatal("no catalog has the target latency of 700 ms")
		}
	}
	if text := api.call(http.MethodPatch, "/streaming/sessions/"+id, `{"quality":{"maxBitrate":20}}`, http.StatusBadRequest); !strings.Contains(text, "lowest rendition") {
		t.Errorf("a cap below what there is: %s", text)
	}

	api.call(http.MethodPatch, "/streaming/sessions/"+id, `{"status":"paused"}`, http.StatusOK)
	last := w.quiet(t)
	before := api.session(id)
	pause(t, 2*time.Second)
	after := api.session(id)
	if after.Status != "paused" || after.Metrics.Network.BytesReceived <= before.Metrics.Network.BytesReceived {
		t.Errorf("paused, the ingest went from %d to %d bytes in state %s", before.Metrics.Network.BytesReceived, after.Metrics.Network.BytesReceived, after.Status)
	}
	if n := len(w.objects); n > 0 {
		t.Errorf("%d pictures came while paused", n)
	}
	api.call(http.MethodPatch, "/streaming/sessions/"+id, `{"status":"live"}`, http.StatusOK)
	if first := w.next(t); first.Group <= last.Group || first.Object != 0 {
		t.Errorf("the viewer goes on at %v after %v, want the beginning of a group", first, last)
	}

	api.call(http.MethodDelete, "/streaming/sessions/"+id, "", http.StatusConflict)
	api.call(http.MethodPatch, "/streaming/sessions/"+id, `{"status":"ended"}`, http.StatusOK)
	select {
	case <-w.ended:
	case <-time.After(5 * time.Second):
		t.Error("the viewer was not told of the end")
	}
	if err := push.Wait(15 * time.Second); err == nil {
		t.Error("the encoder was not told of the end")
	}
	if s := api.session(id); s.Status != "ended" || s.PeakViewers != 1 || s.Viewers != 0 {
		t.Errorf("after the end: %+v", s)
	}
	for line := range strings.Lines(d.Log()) {
		if strings.Contains(line, `"broadcast":"cam"`) && !strings.Contains(line, `"session":"`+id+`"`) {
			t.Errorf("a line about the session without its id: %s", line)
		}
	}
	api.call(http.MethodDelete, "/streaming/sessions/"+id, "", http.StatusOK)
	api.call(http.MethodGet, "/streaming/sessions/"+id, "", http.StatusNotFound)
}

// TestSessionOfAMoQPublisher ends and pauses a broadcast that comes over MoQ with a
// catalog of its own.
func TestSessionOfAMoQPublisher(t *testing.T) {
	t.Parallel()
	d := harness.Start(t, harness.Options{})
	api := newOperator(t, d)
	file := filepath.Join(t.TempDir(), "in.mp4")
	made := harness.FFmpeg(t, append(append(harness.TestPicture{Duration: time.Minute, Fast: true}.Args(), harness.FMP4()...), file)...)
	if err := made.Wait(time.Minute); err != nil {
		t.Fatal(err)
	}
	pub := command(t, append([]string{"publish", "--namespace", "stream/local/pub", file}, relayURL(t, d, "moqt")...)...)
	id := api.find("pub")
	w := lookOn(t, d, track.MustNamespace("stream", "local", "pub"))
	w.next(t)
	harness.Eventually(t, 10*time.Second, "figures of a viewer", func(context.Context) error {
		if s := api.session(id); s.Protocol != "moqt" || s.Viewers != 1 || s.Metrics.Video.Width != 640 || s.Metrics.Network.BytesReceived == 0 {
			return fmt.Errorf("have %+v", s)
		}
		return nil
	})
	api.call(http.MethodPatch, "/streaming/sessions/"+id, `{"status":"paused"}`, http.StatusOK)
	last := w.quiet(t)
	api.call(http.MethodPatch, "/streaming/sessions/"+id, `{"status":"live"}`, http.StatusOK)
	if first := w.next(t); first.Group <= last.Group || first.Object != 0 {
		t.Errorf("the viewer goes on at %v after %v, want the beginning of a group", first, last)
	}
	api.call(http.MethodPatch, "/streaming/sessions/"+id, `{"status":"ended"}`, http.StatusOK)
	select {
	case <-w.ended:
	case <-time.After(5 * time.Second):
		t.Error("the viewer was not told of the end")
	}
	if err := pub.Wait(15 * time.Second); err == nil {
		t.Logf("publish ended well: %s", pub.Log())
	}
	if s := api.session(id); s.Status != "ended" || s.PeakViewers != 1 {
		t.Errorf("after the end: %+v", s)
	}
}

// TestCapOfALadder caps what viewers are sent of an input with two renditions: the
// upper one leaves the catalog, and comes back.
func TestCapOfALadder(t *testing.T) {
	t.Parallel()
	d := harness.Start(t, harness.Options{})
	api := newOperator(t, d)
	args := []string{
		"-re", "-f", "lavfi", "-i", "testsrc2=size=640x360:rate=30", "-re", "-f", "lavfi", "-i", "sine=frequency=440",
		"-map", "0:v", "-map", "0:v", "-map", "1:a", "-filter:v:1", "scale=160:90", "-c:v", "libx264", "-preset", "ultrafast",
		"-tune", "zerolatency", "-threads", "1", "-b:v:0", "1500k", "-b:v:1", "100k", "-g", "30", "-keyint_min", "30", "-sc_threshold", "0", "-c:a", "aac", "-b:a", "64k",
	}
	args = append(append(args, harness.FMP4()...), "-method", "POST", "-send_expect_100", "1", "http://"+d.HTTP+"/ingest/ladder")
	harness.FFmpeg(t, args...)
	id := api.find("ladder")
	d.WaitLive(t, "stream/local/ladder", 10*time.Second)
	w := lookOn(t, d, track.MustNamespace("stream", "local", "ladder"))
	videos := func(want int) {
		t.Helper()
		limit := time.After(10 * time.Second)
		for {
			select {
			case c := <-w.catalogs:
				heights := make(map[int]bool)
				for _, tr := range c.Tracks {
					if tr.Role == "video" {
						heights[tr.Height] = true
					}
				}
				if len(heights) == want && heights[90] {
					return
				}
			case <-limit:
				t.Fatalf("no catalog has %d renditions", want)
			}
		}
	}
	videos(2)
	harness.Eventually(t, 10*time.Second, "the bitrate", func(context.Context) error {
		if s := api.session(id); s.Metrics.Video.BitrateKbps < 600 {
			return fmt.Errorf("it is %v kbit/s", s.Metrics.Video.BitrateKbps)
		}
		return nil
	})
	api.call(http.MethodPatch, "/streaming/sessions/"+id, `{"quality":{"maxBitrate":500}}`, http.StatusOK)
	videos(1)
	select {
	case <-w.ended: // the track "video" is the upper one
	case <-time.After(5 * time.Second):
		t.Error("viewers of the upper rendition were not told")
	}
	api.call(http.MethodPatch, "/streaming/sessions/"+id, `{"quality":{"maxBitrate":20000}}`, http.StatusOK)
	videos(2)
}
