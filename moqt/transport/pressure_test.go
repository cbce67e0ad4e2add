package transport

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A programme is what the tests under pressure send: video in groups of one
// second whose first frame is eight times as large as the others, and audio of
// 128 kbit/s with a group for each frame. An object begins with the time at which
// it was written.
type programme struct {
	video, audio *track.Track
	rate         int // of the video, bit/s
}

const (
	videoFPS   = 30
	audioEvery = time.Second * 1024 / 48_000 // 46.9 frames a second
	audioSize  = 341
)

func newProgramme(rate int, priorities bool) *programme {
	props := func(p uint64) track.Info {
		if !priorities {
			p = track.DefaultPriority
		}
		order := track.Descending
		if !priorities {
			order = track.Ascending
		}
		return track.Info{Properties: track.NewProperties(
			track.Property{Type: track.PropDefaultPriority, Uint: p},
			track.Property{Type: track.PropDefaultGroupOrder, Uint: uint64(order)},
		)}
	}
	ns := track.MustNamespace("live")
	return &programme{
		video: track.New(track.Name{Namespace: ns, Name: "video"}, props(64), track.Config{}),
		audio: track.New(track.Name{Namespace: ns, Name: "audio"}, props(16), track.Config{}),
		rate:  rate,
	}
}

// A serving answers SUBSCRIBE with the tracks of a programme. It is asked for
// nothing else.
type serving struct {
	moqt.Handler
	*programme
}

// HandleSubscribe implements moqt.Handler.
func (s serving) HandleSubscribe(r *moqt.SubscribeRequest) {
	switch r.Name.Name {
	case "video":
		r.Accept(s.video)
	case "audio":
		r.Accept(s.audio)
	default:
		r.Reject(wire.RequestDoesNotExist, "no such track")
	}
}

// air sends the programme for d.
func (p *programme) air(t *testing.T, d time.Duration) {
	var wg sync.WaitGroup
	wg.Go(func() { p.airVideo(t, d) })
	wg.Go(func() { p.airAudio(t, d) })
	wg.Wait()
	p.video.End(track.DoneTrackEnded, "")
	p.audio.End(track.DoneTrackEnded, "")
}

func stamped(size int) []byte {
	b := make([]byte, max(size, 8))
	binary.BigEndian.PutUint64(b, uint64(time.Now().UnixNano()))
	return b
}

// sinceStamp returns how long ago o was written.
func sinceStamp(o track.Object) time.Duration {
	return time.Since(time.Unix(0, int64(binary.BigEndian.Uint64(o.Payload))))
}

func (p *programme) airVideo(t *testing.T, d time.Duration) {
	frame := p.rate / 8 / (videoFPS + 7)
	begun := time.Now()
	var w *track.SubgroupWriter
	for n := 0; n < int(d/time.Second)*videoFPS; n++ {
		time.Sleep(time.Until(begun.Add(time.Duration(n) * time.Second / videoFPS)))
		size := frame
		if n%videoFPS == 0 {
			if w != nil {
				w.Close()
			}
			size *= 8
			w = begin(t, p.video, uint64(n/videoFPS))
		}
		if err := w.WriteObject(track.Object{ID: uint64(n % videoFPS), Payload: stamped(size)}); err != nil {
			t.Error(err)
			return
		}
	}
	w.Close()
}

func (p *programme) airAudio(t *testing.T, d time.Duration) {
	begun := time.Now()
	for n := range uint64(d / audioEvery) {
		time.Sleep(time.Until(begun.Add(time.Duration(n) * audioEvery)))
		w := begin(t, p.audio, n)
		if err := w.WriteObject(track.Object{Payload: stamped(audioSize)}); err != nil {
			t.Error(err)
			return
		}
		w.Close()
	}
}

func begin(t *testing.T, tr *track.Track, group uint64) *track.SubgroupWriter {
	w, err := tr.Subgroup(track.SubgroupHeader{Group: group, EndOfGroup: true, FirstObject: true})
	if err != nil {
		t.Error(err)
	}
	return w
}

// A received is what a viewer got of one track.
type received struct {
	mu      sync.Mutex
	delays  []time.Duration // of every object
	keys    []time.Duration // of the first object of each group
	late    []time.Duration // of every object in the second half of the test
	groups  map[uint64]int  // objects without a gap from the start
	changes int             // objects of a group older than one seen before
	newest  uint64
	freeze  time.Duration // the longest time without an object that can be shown
	shown   time.Time
}

func (r *received) take(g uint64, o track.Object, half time.Time) {
	now, d := time.Now(), sinceStamp(o)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.delays = append(r.delays, d)
	if now.After(half) {
		r.late = append(r.late, d)
	}
	if o.ID == 0 {
		r.keys = append(r.keys, d)
	}
	if g < r.newest {
		r.changes++
	}
	r.newest = max(r.newest, g)
	if r.groups[g] == int(o.ID) {
		r.groups[g]++
		if !r.shown.IsZero() && now.After(r.shown) {
			r.freeze = max(r.freeze, now.Sub(r.shown))
		}
		r.shown = now
	}
}

// shownObjects returns how many objects a decoder can show.
func (r *received) shownObjects() (n int) {
	for _, k := range r.groups {
		n += k
	}
	return n
}

func percentile[T time.Duration | int](d []T, p float64) T {
	if len(d) == 0 {
		return math.MaxInt64
	}
	d = slices.Sorted(slices.Values(d))
	return d[min(int(p*float64(len(d))), len(d)-1)]
}

// A viewer is a session that watches the programme.
type viewer struct {
	s            *moqt.Session
	video, audio received
	control      []time.Duration
	unsent       []int // samples of what the server's transport held
	estimate     moqt.Estimate
	wg           sync.WaitGroup
	run          chan error
}

// watch has client subscribe to both tracks, the video first, and read whatever
// comes, each group by itself.
func watch(t *testing.T, client moqt.Conn, half time.Time) *viewer {
	t.Helper()
	s, err := moqt.NewSession(client, moqt.Config{})
	if err != nil {
		t.Fatal(err)
	}
	v := &viewer{s: s, run: make(chan error, 1)}
	go func() { v.run <- s.Run(t.Context()) }()
	for name, into := range map[string]*received{"video": &v.video, "audio": &v.audio} {
		into.groups = map[uint64]int{}
		sub, err := s.Subscribe(t.Context(), track.Name{Namespace: track.MustNamespace("live"), Name: name}, track.SubscribeOptions{})
		if err != nil {
			t.Fatal(err)
		}
		r := sub.Track().NewReader(track.CurrentGroup)
		v.wg.Go(func() {
			for {
				g, err := r.NextGroup(t.Context())
				if err != nil {
					return
				}
				v.wg.Go(func() {
					for {
						o, err := g.Next(t.Context())
						if err != nil {
							return
						}
						into.take(g.ID(), o, half)
					}
				})
			}
		})
	}
	return v
}

// ask asks for tracks that do not exist, every 100 ms for d, and notes how long
// the answers take.
func (v *viewer) ask(t *testing.T, d time.Duration) {
	end := time.Now().Add(d)
	for i := 0; time.Now().Before(end); i++ {
		asked := time.Now()
		_, err := v.s.Subscribe(t.Context(), track.Name{Namespace: track.MustNamespace("live"), Name: fmt.Sprint("none", i)}, track.SubscribeOptions{})
		if re, ok := errors.AsType[*moqt.RequestError](err); !ok || re.Code != wire.RequestDoesNotExist {
			t.Errorf("Subscribe: %v", err)
			return
		}
		v.control = append(v.control, time.Since(asked))
		time.Sleep(time.Until(asked.Add(100 * time.Millisecond)))
	}
}

func (v *viewer) leave() {
	v.s.Close(wire.SessionNoError, "")
	<-v.run
	v.wg.Wait()
}

// A load is a programme over a link.
type load struct {
	link, video int // bit/s
	rtt         time.Duration
	queue       time.Duration // of the link, when it is full
	loss        float64
	d           time.Duration
	off         bool // no priorities, and no bound to what the transport holds
	blind       bool // the transport does not tell what has left
}

// play has one viewer watch p over the link.
func (l load) play(t *testing.T, scheme string) (v *viewer) {
	synctest.Test(t, func(t *testing.T) {
		b := newBottleneck(l.link/8, int(float64(l.link/8)*l.queue.Seconds()), l.rtt/2)
		p := newProgramme(l.video, !l.off)
		cfg := moqt.Config{Handler: serving{programme: p}}
		if l.off {
			cfg.Egress = moqt.EgressConfig{
				MinAhead: 1 << 30, MaxAhead: 1 << 30, MaxLag: time.Hour, MaxLagGroups: 1 << 30, Stall: time.Hour,
			}
		}
		sessions := make(chan *moqt.Session, 1)
		probe := &probeConn{flat: l.off, blind: l.blind || l.off}
		b.serve(t, Config{Handle: func(ctx context.Context, conn moqt.Conn) {
			probe.Conn = conn
			s, err := moqt.NewSession(probe, cfg)
			if err != nil {
				t.Error(err)
				return
			}
			sessions <- s
			_ = s.Run(ctx)
		}})
		v = watch(t, b.dial(t, scheme, quicConfig()), time.Now().Add(l.d/2))
		b.mu.Lock()
		b.loss = l.loss
		b.mu.Unlock()
		v.wg.Go(func() { v.ask(t, l.d-time.Second) })
		v.wg.Go(func() {
			for range l.d / (50 * time.Millisecond) {
				time.Sleep(50 * time.Millisecond)
				v.unsent = append(v.unsent, probe.unsent())
			}
		})
		p.air(t, l.d)
		v.estimate = (<-sessions).Estimate()
		time.Sleep(2 * time.Second) // for what is under way
		b.mu.Lock()
		b.loss = 0
		b.mu.Unlock()
		v.leave()
	})
	return v
}

// A probeConn is a connection of which the test sees what has not left. It can
// be one that has no priorities (flat), or tells nobody else (blind).
type probeConn struct {
	moqt.Conn
	flat, blind bool

	mu      sync.Mutex
	streams []moqt.SendStream
}

func (c *probeConn) OpenUniStream() (moqt.SendStream, error) {
	s, err := c.Conn.OpenUniStream()
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	c.streams = append(c.streams, s)
	c.mu.Unlock()
	switch {
	case c.flat:
		return flatStream{s}, nil
	case c.blind:
		return blindStream{s}, nil
	}
	return s, nil
}

// unsent returns how many bytes are with the transport and have not left.
func (c *probeConn) unsent() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streams = slices.DeleteFunc(c.streams, func(s moqt.SendStream) bool {
		k := s.(moqt.Unsender).Unsent()
		n += k
		return k == 0 && s.Context().Err() != nil
	})
	return n
}

type blindStream struct{ moqt.SendStream }

type flatStream struct{ moqt.SendStream }

func (flatStream) SetPriority(int, bool) {}

// log says what v saw of a programme of d.
func (v *viewer) log(t *testing.T, d time.Duration) {
	t.Helper()
	frames := int(d/time.Second) * videoFPS
	t.Logf("audio: %d of %d, p50 %v, p99 %v; control: p50 %v, p99 %v", len(v.audio.delays), int(d/audioEvery),
		ms(percentile(v.audio.delays, .5)), ms(percentile(v.audio.delays, .99)), ms(percentile(v.control, .5)), ms(percentile(v.control, .99)))
	t.Logf("video: %d of %d frames, %d can be shown, p50 %v, p99 %v, of the second half %v; key frames p99 %v; longest freeze %v",
		len(v.video.delays), frames, v.video.shownObjects(), ms(percentile(v.video.delays, .5)), ms(percentile(v.video.delays, .99)),
		ms(percentile(v.video.late, .99)), ms(percentile(v.video.keys, .99)), ms(v.video.freeze))
	t.Logf("not left: p50 %d B, p99 %d B; estimate %.2f Mbit/s, limited %t",
		percentile(v.unsent, .5), percentile(v.unsent, .99), v.estimate.Rate*8/1e6, v.estimate.Limited)
}

func ms(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

// both runs f on both transports.
func both(t *testing.T, f func(t *testing.T, scheme string)) {
	for _, scheme := range []string{"moqt", "https"} {
		t.Run(scheme, func(t *testing.T) { f(t, scheme) })
	}
}

// minutes skips a test that plays minutes where they are dear.
func minutes(t *testing.T) {
	t.Helper()
	if raceDetector {
		t.Skip("make unit plays this without the race detector")
	}
}

// atMost checks that got is at most limit.
func atMost(t *testing.T, what string, got, limit time.Duration) {
	t.Helper()
	if got > limit {
		t.Errorf("%s: %v, want at most %v", what, ms(got), limit)
	}
}

// checkAudio checks that all audio came, but for what is lost at the ends.
func (v *viewer) checkAudio(t *testing.T, d time.Duration) {
	t.Helper()
	if got, want := len(v.audio.delays), int(d/audioEvery)*98/100; got < want {
		t.Errorf("%d audio frames came, want %d", got, want)
	}
}

// TestPriorityUnderPressure offers 3 Mbit/s of video, and audio, to a link of 2
// Mbit/s whose round trip is 60 ms, which its full queue makes 100 ms.
func TestPriorityUnderPressure(t *testing.T) {
	minutes(t)
	l := load{link: 2e6, video: 3e6, rtt: 60 * time.Millisecond, queue: 40 * time.Millisecond, d: 20 * time.Second}
	both(t, func(t *testing.T, scheme string) {
		on := l.play(t, scheme)
		on.log(t, l.d)
		on.checkAudio(t, l.d)
		atMost(t, "audio p99", percentile(on.audio.delays, .99), 150*time.Millisecond)
		// About one packet in a hundred is lost to the full queue, whatever it
		// holds. Finding that out takes a round trip of the link as it then is.
		atMost(t, "control p95", percentile(on.control, .95), 2*l.rtt)
		atMost(t, "control p99", percentile(on.control, .99), 2*(l.rtt+l.queue))
		atMost(t, "video p99", percentile(on.video.delays, .99), time.Second)
		// A key frame takes 0.26 s of the link by itself.
		atMost(t, "key frames p99", percentile(on.video.keys, .99), 700*time.Millisecond)
		if got := on.estimate.Rate * 8; got < 1.6e6 || got > 2.1e6 || !on.estimate.Limited {
			t.Errorf("the estimate is %.0f bit/s, limited %t", got, on.estimate.Limited)
		}

		without := l
		without.off = true
		off := without.play(t, scheme)
		t.Log("without priorities:")
		off.log(t, l.d)
		if a, b := percentile(off.video.delays, .5), percentile(on.video.delays, .5); a < 4*b {
			t.Errorf("video p50 is %v without priorities, %v with them", ms(a), ms(b))
		}
		if a, b := percentile(off.audio.delays, .99), percentile(on.audio.delays, .99); a < b {
			t.Errorf("audio p99 is %v without priorities, %v with them", ms(a), ms(b))
		}
	})
}

// TestOverload offers 5.1 Mbit/s to links that carry less, for a minute.
func TestOverload(t *testing.T) {
	minutes(t)
	for _, tt := range []struct {
		link         int
		audio, video time.Duration // p99
		shown        float64
	}{
		{4e6, 200 * time.Millisecond, time.Second, .60},
		{3e6, 250 * time.Millisecond, 1200 * time.Millisecond, .40},
	} {
		t.Run(fmt.Sprintf("link=%d", tt.link), func(t *testing.T) {
			both(t, func(t *testing.T, scheme string) {
				l := load{link: tt.link, video: 5e6, rtt: 40 * time.Millisecond, queue: 100 * time.Millisecond, d: time.Minute}
				v := l.play(t, scheme)
				v.log(t, l.d)
				v.checkAudio(t, l.d)
				atMost(t, "audio p99", percentile(v.audio.delays, .99), tt.audio)
				atMost(t, "video p99", percentile(v.video.delays, .99), tt.video)
				atMost(t, "video p99 of the second half", percentile(v.video.late, .99), tt.video)
				atMost(t, "freeze", v.video.freeze, time.Second)
				if got := float64(v.video.shownObjects()) / float64(int(l.d/time.Second)*videoFPS); got < tt.shown {
					t.Errorf("%.2f of the video can be shown, want %.2f", got, tt.shown)
				}
			})
		})
	}
}

// TestRandomLoss loses 1 % of all packets. What the congestion control makes of
// that is less than what is offered.
func TestRandomLoss(t *testing.T) {
	minutes(t)
	both(t, func(t *testing.T, scheme string) {
		l := load{link: 20e6, video: 5e6, rtt: 40 * time.Millisecond, queue: 100 * time.Millisecond, loss: .01, d: 20 * time.Second}
		v := l.play(t, scheme)
		v.log(t, l.d)
		v.checkAudio(t, l.d)
		atMost(t, "audio p99", percentile(v.audio.delays, .99), 120*time.Millisecond)
		all := slices.Concat(v.audio.delays, v.video.delays)
		atMost(t, "p99 of all", percentile(all, .99), time.Second)
	})
}

// TestUnsentIsBetterThanTheEstimate compares what is with the transport, in
// truth, when the scheduler is told and when it has to estimate.
func TestUnsentIsBetterThanTheEstimate(t *testing.T) {
	minutes(t)
	both(t, func(t *testing.T, scheme string) {
		l := load{link: 4e6, video: 5e6, rtt: 40 * time.Millisecond, queue: 100 * time.Millisecond, d: 20 * time.Second}
		told := l.play(t, scheme)
		told.log(t, l.d)
		l.blind = true
		estimated := l.play(t, scheme)
		t.Log("estimated:")
		estimated.log(t, l.d)
		// MinAhead at this rate, and one write; as much again of the older group
		// when a new one has begun.
		const limit = 32<<10 + 16<<10
		for _, p := range []struct{ at, limit float64 }{{.5, limit}, {.99, 2 * limit}} {
			a, b := percentile(told.unsent, p.at), percentile(estimated.unsent, p.at)
			if a >= b || float64(a) > p.limit {
				t.Errorf("p%.0f: %d bytes had not left, %d with the estimate, want less and at most %.0f", 100*p.at, a, b, p.limit)
			}
		}
	})
}
