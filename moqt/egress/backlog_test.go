package egress

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt/conn"
)

func TestBacklogLimit(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  Config
		s    conn.Stats
		want int
	}{
		{"30 ms of the rate", Config{}, conn.Stats{CongestionWindow: 200_000, SmoothedRTT: 50 * time.Millisecond}, 120_000},
		{"slow: 32 KiB at least", Config{}, conn.Stats{CongestionWindow: 14_000, SmoothedRTT: 100 * time.Millisecond}, 32 << 10},
		{"fast: 256 KiB at most", Config{}, conn.Stats{CongestionWindow: 1 << 20, SmoothedRTT: time.Millisecond}, 256 << 10},
		{"no estimate yet: 64 KiB", Config{}, conn.Stats{CongestionWindow: 40_000}, 64 << 10},
		{"configured", Config{Ahead: 10 * time.Millisecond, MinAhead: 1000}, conn.Stats{CongestionWindow: 200_000, SmoothedRTT: 50 * time.Millisecond}, 40_000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBacklog(tt.cfg.withDefaults())
			tt.s.BytesSent = 1200
			b.measure(time.Time{}, tt.s)
			if b.limit != tt.want {
				t.Errorf("the limit is %d, want %d", b.limit, tt.want)
			}
		})
	}
}

func TestBacklogBlind(t *testing.T) {
	b := newBacklog(Config{}.withDefaults())
	b.measure(time.Time{}, conn.Stats{})
	b.wrote(10<<20, urgencyFirst, 1)
	if !b.room(urgencyOld) {
		t.Error("a transport that does not measure is held to a limit")
	}
}

// TestBacklogFollows compares the estimate with the truth: a transport that
// packetises at some rate, loses some packets, sends acknowledgements of its
// own, and is sometimes empty.
func TestBacklogFollows(t *testing.T) {
	for _, loss := range []float64{0, 0.01, 0.05} {
		rnd := rand.New(rand.NewPCG(7, uint64(loss*100)))
		b := newBacklog(Config{}.withDefaults())
		now := time.Unix(0, 0)
		var stats conn.Stats
		stats.SmoothedRTT, stats.CongestionWindow = 50*time.Millisecond, 100_000
		stats.BytesSent = 4000
		b.measure(now, stats)
		queued, worst := 0, 0 // bytes of streams, new ones and lost ones
		idle := 0             // milliseconds without a packet while there was data
		for i := range 20_000 {
			now = now.Add(time.Millisecond)
			busy := i/2000%2 == 0
			for busy && b.room(urgencyFirst) {
				b.wrote(4000, urgencyFirst, 1)
				queued += 4000
			}
			if busy && queued == 0 {
				idle++
			}
			for range 2 { // packets in each millisecond
				if queued == 0 {
					break
				}
				n := min(queued, 1200)
				queued -= n
				stats.BytesSent += uint64(n) + 31
				stats.PacketsSent++
				if rnd.Float64() < loss {
					queued += n
					stats.PacketsLost++
				}
			}
			if rnd.IntN(10) == 0 {
				stats.BytesSent += 40 // an acknowledgement
				stats.PacketsSent++
			}
			stats.BytesReceived += 20
			b.measure(now, stats)
			worst = max(worst, queued)
			if !busy && i%2000 == 1999 && b.total() != 0 {
				t.Fatalf("loss %v: %d bytes are believed to be unsent, none is", loss, b.total())
			}
		}
		if worst > 3*b.limit/2 {
			t.Errorf("loss %v: up to %d bytes were handed over ahead, the limit is %d", loss, worst, b.limit)
		}
		if idle > 10_000/50 {
			t.Errorf("loss %v: the transport had nothing to send for %d ms of 10 s", loss, idle)
		}
	}
}

// TestBacklogIsCorrected has an estimate that is too high while a little of other
// traffic goes on: it does not hold data back for long.
func TestBacklogIsCorrected(t *testing.T) {
	b := newBacklog(Config{}.withDefaults())
	now := time.Unix(0, 0)
	s := conn.Stats{BytesSent: 5000, SmoothedRTT: 50 * time.Millisecond, CongestionWindow: 100_000}
	b.measure(now, s)
	b.wrote(b.limit, urgencyFirst, 1) // nothing of that is ever going to leave
	for held := time.Duration(0); !b.room(urgencyFirst); held += 10 * time.Millisecond {
		if held > 300*time.Millisecond {
			t.Fatalf("after %v %d bytes are still believed to be unsent", held, b.total())
		}
		now = now.Add(10 * time.Millisecond)
		s.BytesSent += 100
		s.PacketsSent++
		s.BytesReceived += 50
		b.measure(now, s)
	}
}

// TestBacklogOfResetStreams checks that what a reset takes with it is not
// waited for, and that a stream takes what it has to its new urgency.
func TestBacklogOfResetStreams(t *testing.T) {
	b := newBacklog(Config{}.withDefaults())
	b.measure(time.Time{}, conn.Stats{BytesSent: 1})
	for i := range 10 {
		b.wrote(100, 3, uint64(i%2))
	}
	b.sent(250) // of the first three parts: 150 of stream 0, 100 of stream 1
	b.rank(3, 5, 0)
	if b.ahead[3].bytes != 400 || b.ahead[5].bytes != 350 {
		t.Errorf("after the rank: %+v and %+v", b.ahead[3], b.ahead[5])
	}
	b.reset(5, 0)
	b.reset(5, 1) // has nothing there
	if b.total() != 400 {
		t.Errorf("after the reset %d bytes are unsent, want 400", b.total())
	}
	b.sent(1000)
	if b.total() != 0 {
		t.Errorf("%d bytes are left", b.total())
	}
}

// TestBacklogForgets checks that an estimate which is too high does not hold
// data back forever, and that a dead path is not flooded.
func TestBacklogForgets(t *testing.T) {
	b := newBacklog(Config{}.withDefaults())
	now := time.Unix(0, 0)
	s := conn.Stats{BytesSent: 5000, SmoothedRTT: 50 * time.Millisecond, CongestionWindow: 100_000}
	b.measure(now, s)
	b.measure(now, s)
	handed := 0
	for range 10_000 / 10 { // 10 s without a single packet
		for b.room(urgencyFirst) {
			b.wrote(16<<10, urgencyFirst, 1)
			handed += 16 << 10
		}
		now = now.Add(10 * time.Millisecond)
		b.measure(now, s)
	}
	if handed < 2*b.limit || handed > 8*(b.limit+16<<10) {
		t.Errorf("%d bytes were handed to a transport that sent none in 10 s, the limit is %d", handed, b.limit)
	}
}

func TestBacklogByUrgency(t *testing.T) {
	b := newBacklog(Config{}.withDefaults())
	b.measure(time.Time{}, conn.Stats{BytesSent: 1})
	b.wrote(b.limit, 4, 1)
	if !b.room(2) || !b.room(3) || b.room(4) || b.room(5) {
		t.Errorf("with urgency 4 full there is room at 2..5: %t %t %t %t", b.room(2), b.room(3), b.room(4), b.room(5))
	}
	b.wrote(1000, 2, 2)
	b.sent(1500) // the most urgent leaves first
	if b.ahead[2].bytes != 0 || b.ahead[4].bytes != b.limit-500 {
		t.Errorf("after 1500 bytes left: %v", b.ahead)
	}
}

// TestBacklogHoldsData checks the whole loop: as long as the transport does not
// send, data stays with us, and it goes on when the transport does.
func TestBacklogHoldsData(t *testing.T) {
	r := newRig(t, Config{})
	tr := r.track("video")
	r.add(tr, nil)
	w := subgroup(t, tr, 0, 0)
	objects(t, w, 0, 9, 50_000)
	r.conn.stats = conn.Stats{BytesSent: 5000, PacketsSent: 5}
	a := r.run()
	if n := len(r.conn.streams[0].data); n < 64<<10 || n > 64<<10+quantum {
		t.Errorf("%d bytes were handed over at first, want about 64 KiB", n)
	}
	if want := r.now.Add(10 * time.Millisecond); a.until != want {
		t.Errorf("the core sleeps until %v, want a tick", a.until)
	}
	for range 1000 {
		before := len(r.conn.streams[0].data)
		r.conn.stats.BytesSent += 12_000
		r.conn.stats.PacketsSent += 10
		r.now = r.now.Add(10 * time.Millisecond)
		if a = r.run(); a.until.IsZero() {
			break
		}
		if n := len(r.conn.streams[0].data) - before; n > 12_000+quantum {
			t.Fatalf("%d bytes were handed over while 12000 were sent", n)
		}
	}
	if p := r.conn.streams[0].parse(t); len(p.ids) != 10 || !p.whole {
		t.Errorf("the receiver has %v", p)
	}
}

// TestJumpFreesTheTransport checks that the newest group does not wait for
// what was handed over of the groups that a jump has reset.
func TestJumpFreesTheTransport(t *testing.T) {
	r := newRig(t, Config{})
	tr := r.track("video")
	r.add(tr, nil)
	r.conn.stats = conn.Stats{BytesSent: 5000} // and no more: nothing leaves
	objects(t, subgroup(t, tr, 0, 0), 0, 9, 50_000)
	r.run()
	objects(t, subgroup(t, tr, 1, 0), 0, 9, 50_000)
	for range 310 { // a little of something else leaves all the time
		r.conn.stats.BytesSent++
		r.pass(10 * time.Millisecond)
	}
	expect(t, "the old group", r.sent()[:1], "0/0 0..1 first cut TOO_FAR_BEHIND")
	if n := len(r.conn.streams[1].data); n < 64<<10 {
		t.Errorf("%d bytes of the newest group were handed over", n)
	}
}
