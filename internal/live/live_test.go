package live

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/ingest"
)

func TestSessionAcrossReturn(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, w *world) {
		c := w.inputs.Connect("cam", ingest.Peer{Addr: "a", Protocol: "fmp4", UserAgent: "Lavf/61\x00\n"})
		write(t, add(t, c, "video", videoHeader(720)), frame(0, 100, true))
		w.check("started cam over fmp4", "open cam as sess_1, target 0s", "add video", "video 0")
		c.Pause(0)
		if st, ok := w.s.State("sess_1"); !ok || st.Connection.State != "lost" || st.Connection.UserAgent != "Lavf/61" {
			t.Errorf("State = %+v, %t, want a lost connection of Lavf/61", st.Connection, ok)
		}
		w.viewers.Store(3)
		time.Sleep(4 * time.Second)

		c = w.inputs.Connect("cam", ingest.Peer{Addr: "b", Protocol: "fmp4", Encrypted: true})
		write(t, add(t, c, "video", videoHeader(720)), frame(40, 100, false))
		w.check("video 40")
		st, ok := w.s.State("sess_1")
		if !ok || !st.Live || st.Connection.State != "connected" || st.Connection.RemoteAddress != "b" || !st.Connection.Encrypted || st.Connection.Count != 2 {
			t.Errorf("State = %+v, want the second connection", st.Connection)
		}
		w.viewers.Store(1)
		time.Sleep(2 * time.Second)
		c.Pause(0)
		time.Sleep(6 * time.Second)
		w.check("close video", "close", "sess_1 lost, peak 3")
		st, ok = w.s.State("sess_1")
		if !ok || st.Live || st.Connection.State != "closed" || st.PeakViewers != 3 || st.Viewers != 0 {
			t.Errorf("after its end: %+v, %t", st, ok)
		}
		if st.Watched < 15*time.Second || st.Watched > 20*time.Second {
			t.Errorf("Watched = %v, want what 3 viewers of 4 s and one of 7 s make", st.Watched)
		}
		k := w.s.KPIs(Filter{Org: "local"}, FiveMinutes)
		if k.LiveSessions != 0 || k.PeakViewers != 3 || k.Totals.Sessions != 1 || k.Totals.Connections != 2 || k.Totals.Errors["lost"] != 1 || k.Totals.Bytes != 200 {
			t.Errorf("KPIs = %+v", k)
		}
		r := w.s.ended[0]
		if r.out != nil || r.from.Stats != nil {
			t.Error("a session that has ended holds its broadcast or its connection")
		}
		r.stop() // another session may have begun by now
		c = w.inputs.Connect("cam", ingest.Peer{})
		add(t, c, "video", videoHeader(720))
		r.stop()
		if c.Err() != nil {
			t.Error("the end of a session has closed the next one")
		}
		c.Close(nil)
		w.taken()
		time.Sleep(time.Hour + time.Minute)
		if _, ok := w.s.State("sess_1"); ok {
			t.Error("a session is remembered an hour after its end")
		}
	})
}

// TestTotalsOfAnInput: what one input brings is not counted as another's, and its
// counts last for as long as one of its sessions is remembered.
func TestTotalsOfAnInput(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, w *world) {
		w.viewers.Store(0)
		cam, door := w.inputs.Connect("cam", ingest.Peer{Protocol: "srt"}), w.inputs.Connect("door", ingest.Peer{Protocol: "rtmp"})
		sinks := map[cmaf.Sink]int{add(t, cam, "video", videoHeader(720)): 5000, add(t, door, "video", videoHeader(720)): 100}
		from := int64(0)
		stream(t, &from, 2, sinks)
		door.Pause(0)
		time.Sleep(6 * time.Second)
		for _, tt := range []struct {
			of                             Filter
			sessions, bytes, frames, fails uint64
		}{
			{Filter{Org: "local", Input: "cam"}, 1, 50 * 5000, 50, 0},
			{Filter{Input: "door"}, 1, 50 * 100, 50, 1},
			{Filter{Org: "local"}, 2, 50 * 5100, 100, 1},
			{Filter{}, 2, 50 * 5100, 100, 1},
			{Filter{Org: "other", Input: "cam"}, 0, 0, 0, 0},
		} {
			got := w.s.KPIs(tt.of, FiveMinutes).Totals
			if got.Sessions != tt.sessions || got.Connections != tt.sessions || got.Bytes != tt.bytes || got.Frames != tt.frames || got.Errors["lost"] != tt.fails {
				t.Errorf("totals of %+v = %+v, want %d sessions, %d bytes, %d frames, %d lost", tt.of, got, tt.sessions, tt.bytes, tt.frames, tt.fails)
			}
		}
		cam.Close(nil)
		w.taken()
		time.Sleep(time.Hour + time.Minute)
		w.s.mu.Lock()
		kept := slices.Collect(maps.Keys(w.s.totals))
		w.s.mu.Unlock()
		if len(kept) != 1 {
			t.Errorf("counts are kept of %v, want the organisation alone", kept)
		}
		if got := w.s.KPIs(Filter{Org: "local"}, FiveMinutes).Totals; got.Bytes != 50*5100 {
			t.Errorf("the organisation has forgotten what came: %+v", got)
		}
	})
}

// stream writes seconds of 25 pictures a second of each of the sinks, in real time.
func stream(t *testing.T, from *int64, seconds int, sinks map[cmaf.Sink]int) {
	t.Helper()
	for range 25 * seconds {
		for s, bytes := range sinks {
			write(t, s, frame(*from, bytes, *from%1000 == 0))
		}
		*from += 40
		time.Sleep(40 * time.Millisecond)
	}
}

func TestMeasures(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, w *world) {
		stats := ingest.PeerStats{RTT: 20 * time.Millisecond, Received: 900, Lost: 100}
		c := w.inputs.Connect("cam", ingest.Peer{Protocol: "srt", Stats: func() ingest.PeerStats { return stats }})
		v, a := add(t, c, "video", videoHeader(720)), add(t, c, "audio", audioHeader())
		c.Anchor(cmaf.Time{Ticks: 0, Scale: 1000}, time.Now().Add(-200*time.Millisecond))
		from := int64(0)
		stream(t, &from, 4, map[cmaf.Sink]int{v: 5000, a: 320})
		from += 200 // five pictures are missing, and what comes is that much early
		stream(t, &from, 4, map[cmaf.Sink]int{v: 5000, a: 320})
		synctest.Wait()
		st, _ := w.s.State("sess_1")
		if v := st.Video; v == nil || math.Abs(v.Bitrate-1e6) > 1 || math.Abs(v.FrameRate-25) > .01 || v.Width != 1280 || v.KeyFrameInterval != time.Second || v.DroppedFrames != 5 {
			t.Errorf("Video = %+v, want 1 Mbit/s of 1280x720 at 25 with a key frame a second and 5 missing", v)
		}
		if a := st.Audio; a == nil || math.Abs(a.Bitrate-64e3) > 1 || a.SampleRate != 48000 || a.Channels != 2 {
			t.Errorf("Audio = %+v, want 64 kbit/s of 48 kHz in stereo", a)
		}
		n := st.Network
		if n.RTT != 20*time.Millisecond || n.Loss == nil || n.Skew == nil || *n.Skew != 0 || n.IngestToPublish != 3*time.Millisecond || n.Bytes != 200*5320 {
			t.Errorf("Network = %+v", n)
		}
		// A picture that came 200 ms after its capture, less what the hole made early.
		if n.GlassToPublish == nil || *n.GlassToPublish != 0 {
			t.Errorf("GlassToPublish = %v, want 0: 200 ms of the way less 200 ms of the hole", n.GlassToPublish)
		}
		if h := w.s.Histogram(Filter{}, IngestToPublish, ""); h.Count != 400 || h.Sum != 400*3*time.Millisecond {
			t.Errorf("the histogram has %d of %v, want 400 of 1.2s", h.Count, h.Sum)
		}
		if q := w.s.Histogram(Filter{}, IngestToPublish, Minute).Quantiles(); q.P50 <= 2*time.Millisecond || q.P99 > 5*time.Millisecond {
			t.Errorf("Quantiles = %+v, want them in the bucket of 3 ms", q)
		}
		pts := w.s.Series(Filter{Org: "local", Input: "cam"}, Minute)
		if len(pts) != points {
			t.Fatalf("%d points, want %d", len(pts), points)
		}
		if p := pts[points-3]; p.Sessions != 1 || math.Abs(p.Bitrate-8*25*5320) > 8*5320 || p.FrameRate < 24 || p.RTT != 20*time.Millisecond {
			t.Errorf("the point of two seconds ago is %+v", p)
		}
		if empty := w.s.Series(Filter{Org: "other"}, Hour); empty[59].Sessions != 0 {
			t.Errorf("another organisation has %+v", empty[59])
		}
	})
}

func TestSkewAndLateness(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, w *world) {
		c := w.inputs.Connect("cam", ingest.Peer{})
		v, a := add(t, c, "video", videoHeader(720)), add(t, c, "audio", audioHeader())
		for i := range int64(75) {
			write(t, v, frame(40*i, 100, i%25 == 0))
			if i >= 2 {
				write(t, a, frame(40*(i-2), 10, true)) // sound comes 80 ms after its picture
			}
			time.Sleep(40 * time.Millisecond)
		}
		time.Sleep(500 * time.Millisecond)
		write(t, v, frame(40*75, 100, false))
		synctest.Wait()
		st, _ := w.s.State("sess_1")
		if st.Network.Skew == nil || *st.Network.Skew != 80*time.Millisecond {
			t.Errorf("Skew = %v, want 80ms", st.Network.Skew)
		}
		h := w.s.Histogram(Filter{}, Lateness, Minute)
		if n := h.Counts[8]; n != 1 { // up to 500 ms
			t.Errorf("%v, want one chunk of 500 ms", h.Counts)
		}
		if h.Sum != 500*time.Millisecond { // sound has a schedule of its own
			t.Errorf("the lateness adds up to %v", h.Sum)
		}
	})
}

func TestPause(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, w *world) {
		c := w.inputs.Connect("cam", ingest.Peer{})
		v, a := add(t, c, "video", videoHeader(720)), add(t, c, "audio", audioHeader())
		write(t, v, frame(0, 1, true))
		write(t, a, frame(0, 1, true))
		w.taken()
		w.s.Apply("sess_1", Settings{Paused: true})
		w.check("target 0s")
		for i := int64(1); i < 50; i++ {
			write(t, v, frame(40*i, 1, i%25 == 0))
			write(t, a, frame(40*i, 1, true))
		}
		time.Sleep(time.Minute)
		w.check()
		if st, _ := w.s.State("sess_1"); !st.Paused || !st.Live || st.Tracks[0].Frames != 50 {
			t.Errorf("State = %+v, want it paused, live and metered", st)
		}
		w.s.Apply("sess_1", Settings{})
		w.check("target 0s")
		write(t, a, frame(2000, 1, true))
		write(t, v, frame(2000, 1, false))
		w.check() // both wait for a random access point
		write(t, v, frame(2040, 1, true))
		write(t, a, frame(2040, 1, true))
		write(t, v, frame(2080, 1, false))
		w.check("video 2040", "audio 2040", "video 2080")

		w.s.Apply("sess_1", Settings{Ended: true})
		if got := w.taken(); !strings.HasSuffix(got, "\nclose\nsess_1 finished, peak 0") {
			t.Errorf("the end was %s", got)
		}
		if !errors.Is(c.Err(), ingest.ErrEnded) {
			t.Errorf("the connection: %v, want ErrEnded", c.Err())
		}
		w.s.Apply("sess_1", Settings{Paused: true}) // it has ended: nothing happens
		w.s.Apply("sess_9", Settings{Ended: true})
		w.check()
	})
}

func TestSettingsFromTheStart(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, w *world) {
		w.preset = Settings{Paused: true, TargetLatency: 400 * time.Millisecond}
		c := w.inputs.Connect("cam", ingest.Peer{})
		write(t, add(t, c, "video", videoHeader(720)), frame(0, 1, true))
		w.check("started cam over ", "open cam as sess_1, target 400ms", "add video")
		w.s.Apply("sess_1", Settings{TargetLatency: 2 * time.Second})
		w.check("target 2s")
	})
}

func TestCap(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, w *world) {
		c := w.inputs.Connect("cam", ingest.Peer{})
		high, low, audio := add(t, c, "high", videoHeader(1080)), add(t, c, "low", videoHeader(360)), add(t, c, "audio", audioHeader())
		sinks := map[cmaf.Sink]int{high: 5000, low: 1000, audio: 320} // 1 Mbit/s, 200 and 64 kbit/s
		from := int64(0)
		stream(t, &from, 3, sinks)
		if err := w.s.CheckBitrate("sess_1", 264); err != nil {
			t.Errorf("a cap that the low one fits: %v", err)
		}
		err := w.s.CheckBitrate("sess_1", 250)
		if b, ok := errors.AsType[*BitrateError](err); !ok || math.Round(b.Least) != 264_000 || !strings.Contains(b.Error(), "264 kbit/s") {
			t.Errorf("a cap below it: %v", err)
		}
		w.taken()
		w.s.Apply("sess_1", Settings{MaxBitrate: 500_000})
		stream(t, &from, 2, sinks)
		got := w.taken()
		if strings.Contains(got, "\nhigh ") || !strings.Contains(got, "close high") || !strings.Contains(got, "low ") {
			t.Errorf("under the cap viewers got %s", got)
		}
		if st, _ := w.s.State("sess_1"); !st.Tracks[0].Withheld || st.OverCap {
			t.Errorf("State = %+v, want high withheld", st.Tracks)
		}
		w.taken()
		w.s.Apply("sess_1", Settings{MaxBitrate: 1_100_000})
		write(t, high, frame(from+40, 5000, false))
		w.check("target 0s")
		write(t, high, frame(from+80, 5000, true))
		w.check("add high", fmt.Sprintf("high %d", from+80))

		w.s.Apply("sess_1", Settings{MaxBitrate: 100_000})
		w.taken()
		write(t, low, frame(from+40, 1000, true))
		w.check(fmt.Sprintf("low %d", from+40)) // something has to be left
		if st, _ := w.s.State("sess_1"); !st.OverCap {
			t.Error("OverCap is false")
		}
	})
}

func TestPastIsBounded(t *testing.T) {
	inBubble(t, Config{MaxEnded: 3}, func(t *testing.T, w *world) {
		c := w.inputs.Connect("cam", ingest.Peer{})
		v := add(t, c, "video", videoHeader(720))
		for i := range int64(2 * 3600) {
			write(t, v, frame(1000*i, 100, true))
			time.Sleep(time.Second)
		}
		r := w.s.running()[0]
		if n := len(r.past.list); n != kept {
			t.Errorf("%d seconds are kept, want %d", n, kept)
		}
		if n := len(r.delays[Lateness].list); n != 360 {
			t.Errorf("%d slots are kept, want 360", n)
		}
		if h := w.s.Histogram(Filter{}, Lateness, Minute); h.Count < 60 || h.Count > 70 {
			t.Errorf("a minute has %d chunks, want about 60", h.Count)
		}
		pts := w.s.Series(Filter{}, Hour)
		for i, p := range pts[:59] {
			if math.Abs(p.Sessions-1) > .05 || math.Abs(p.Bitrate-800) > 40 {
				t.Errorf("minute %d has %+v, want one session of 800 bit/s", i, p)
			}
		}
		for i := range 10 {
			c := w.inputs.Connect(fmt.Sprint("x", i), ingest.Peer{})
			add(t, c, "video", videoHeader(720))
			c.Close(nil)
		}
		synctest.Wait()
		if n := len(w.s.ended); n != 3 {
			t.Errorf("%d sessions are remembered, want 3", n)
		}
	})
}

// A session says which limit it hit.
func TestEndsAtItsLimit(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, w *world) {
		s := add(t, w.inputs.Connect("loud", ingest.Peer{Protocol: "fmp4"}), "video", videoHeader(720))
		w.taken()
		if err := s.WriteChunk(frame(0, 10_000, true)); !errors.Is(err, ingest.ErrBitrate) {
			t.Fatalf("WriteChunk = %v, want ErrBitrate", err)
		}
		w.check("close video", "close", "sess_1 bitrate, peak 0")
		if n := w.s.KPIs(Filter{Org: "local"}, FiveMinutes).Totals.Errors["bitrate"]; n != 1 {
			t.Errorf("%d sessions ended for their bitrate, want 1", n)
		}
	})
}

func TestStreamLabelIsCapped(t *testing.T) {
	s := newStreams(100)
	for i := range 100_000 {
		s.count(fmt.Sprint("in", i), second{bytes: 1})
	}
	if n := len(s.counts); n != 101 {
		t.Errorf("%d labels, want 100 and other", n)
	}
	if n := s.counts[otherStreams].bytes; n != 100_000-100 {
		t.Errorf("other has %d bytes", n)
	}
}

func TestMetricsLint(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	inBubble(t, Config{Metrics: reg, StreamLabel: 2}, func(t *testing.T, w *world) {
		for i := range 4 {
			c := w.inputs.Connect(fmt.Sprint("cam", i), ingest.Peer{Protocol: fmt.Sprint("made up ", i)})
			write(t, add(t, c, "video", videoHeader(720)), frame(0, 100, true))
		}
		w.viewers.Store(2)
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		problems, err := testutil.GatherAndLint(reg)
		if err != nil || len(problems) > 0 {
			t.Errorf("%v, %v", problems, err)
		}
		want := `
# HELP broadcastd_session_received_bytes_total Bytes of media that inputs brought, by protocol.
# TYPE broadcastd_session_received_bytes_total counter
broadcastd_session_received_bytes_total{protocol="other"} 400
# HELP broadcastd_sessions Sessions that run: live, paused by request, or lost while the grace runs.
# TYPE broadcastd_sessions gauge
broadcastd_sessions{state="live"} 4
broadcastd_sessions{state="lost"} 0
broadcastd_sessions{state="paused"} 0
# HELP broadcastd_viewers Viewers of all sessions: connections that read a session's tracks.
# TYPE broadcastd_viewers gauge
broadcastd_viewers 8
`
		if err := testutil.GatherAndCompare(reg, strings.NewReader(want),
			"broadcastd_session_received_bytes_total", "broadcastd_sessions", "broadcastd_viewers"); err != nil {
			t.Error(err)
		}
		if n, err := testutil.GatherAndCount(reg, "broadcastd_stream_viewers"); err != nil || n != 3 {
			t.Errorf("%d streams, %v, want two and other", n, err)
		}
	})
}
