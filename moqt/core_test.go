package moqt

import (
	"bytes"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

func TestRequestIDs(t *testing.T) {
	long := make([]uint64, 3*maxAhead)
	for i := range long {
		long[i] = uint64(2 * i)
	}
	for _, tt := range []struct {
		name   string
		parity uint64
		ids    []uint64
		bad    uint64 // must be refused after them
		good   uint64 // must not
		next   uint64
	}{
		{"in order", 0, []uint64{0, 2, 4}, 2, 6, 6},
		{"odd", 1, []uint64{1, 3}, 2, 5, 5},
		{"out of order", 0, []uint64{4, 0}, 4, 2, 6},
		{"gaps for good", 0, []uint64{10, 100}, 10, 50, 102},
		{"many", 0, long, 4, 6 * maxAhead, 6 * maxAhead},
		{"many behind a gap", 0, long[1:], 0, 6 * maxAhead, 6 * maxAhead}, // 0 is given up
		{"the last", 1, []uint64{math.MaxUint64}, math.MaxUint64, 1, math.MaxUint64},
		{"none", 1, nil, 0, 1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := requestIDs{parity: tt.parity, low: tt.parity}
			for _, id := range tt.ids {
				if err := r.take(id); err != nil {
					t.Fatalf("take(%d): %v", id, err)
				}
			}
			if got := r.next(); got != tt.next {
				t.Errorf("next() = %d, want %d", got, tt.next)
			}
			if err := r.take(tt.bad); err == nil {
				t.Errorf("take(%d) succeeds", tt.bad)
			}
			if err := r.take(tt.good); err != nil {
				t.Errorf("take(%d): %v", tt.good, err)
			}
			if len(r.ahead) > maxAhead+1 {
				t.Errorf("%d IDs are remembered", len(r.ahead))
			}
		})
	}
}

func TestRecent(t *testing.T) {
	var r recent
	for alias := range uint64(100) {
		r.add(alias)
		r.add(alias)
	}
	if r.has(35) || !r.has(36) || !r.has(99) {
		t.Error("the last 64 are not what is remembered")
	}
	r.remove(99)
	r.remove(5)
	if r.has(99) || !r.has(98) || !r.has(36) {
		t.Error("remove(99) removed something else")
	}
	r.add(99)
	if !r.has(99) || !r.has(98) {
		t.Error("add after remove lost something")
	}
}

// TestInbound splits the beginnings of streams at every byte.
func TestInbound(t *testing.T) {
	h := wire.SubgroupHeader{Alias: 300, Group: 70000, Subgroup: 5, Priority: 9}
	setup, err := wire.AppendMessage(nil, wire.Setup{Implementation: "x"})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		b    []byte
		kind wire.StreamType
		rest []byte
	}{
		{"control", setup, wire.StreamControl, setup},
		{"subgroup", append(h.Append(nil), "rest"...), wire.StreamSubgroup, []byte("rest")},
		{"fetch", append(wire.FetchHeader{RequestID: 300}.Append(nil), "rest"...), wire.StreamFetch, []byte("rest")},
		{"padding", wire.AppendPaddingStream(nil, 2), wire.StreamPadding, []byte{0, 0}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for n := range len(tt.b) + 1 {
				var in inbound
				known, err := in.feed(tt.b[:n])
				if err != nil {
					t.Fatal(err)
				}
				if !known {
					if in.cut() != (n > 0) {
						t.Errorf("cut() = %t after %d bytes", in.cut(), n)
					}
					if known, err = in.feed(tt.b[n:]); !known || err != nil {
						t.Fatalf("feed after %d bytes: %t, %v", n, known, err)
					}
				} else {
					in.rest = append(in.rest, tt.b[n:]...)
				}
				if in.kind != tt.kind || !bytes.Equal(in.rest, tt.rest) {
					t.Errorf("%d bytes: kind %v, rest %x, want %v, %x", n, in.kind, in.rest, tt.kind, tt.rest)
				}
				if tt.kind == wire.StreamSubgroup && in.header != h {
					t.Errorf("header %+v, want %+v", in.header, h)
				}
				if tt.kind == wire.StreamFetch && in.fetch.RequestID != 300 {
					t.Errorf("header %+v, want request 300", in.fetch)
				}
			}
		})
	}
}

func TestConfig(t *testing.T) {
	if _, err := (Config{}).checked(); err != nil {
		t.Errorf("the zero Config: %v", err)
	}
	bad := Config{SetupTimeout: -1, Limits: Limits{Requests: -1, ControlBytes: 1, EarlyWait: -time.Second}}
	_, err := bad.checked()
	for _, field := range []string{"SetupTimeout", "Limits.Requests", "Limits.ControlBytes", "Limits.EarlyWait"} {
		if err == nil || !bytes.Contains([]byte(err.Error()), []byte(field)) {
			t.Errorf("checked() = %v, want it to name %s", err, field)
		}
	}
	if _, err := NewSession(nil, bad); err == nil {
		t.Error("NewSession takes a bad Config")
	}
}

// A bench runs a core without a session: it does what the actions say as far as
// the core can see, and checks what has to hold.
type bench struct {
	t       testing.TB
	c       *core
	now     time.Time
	replies []chan reply
	asked   []*request
	over    map[*request]int
	bound   map[streamID]*track.SubgroupWriter
	serving map[streamID]int
	sending map[streamID]int
	filled  map[streamID]*fetchSink
	answer  func(streamID) event // what a handler says; nil: nothing
	calls   []event
}

func newBench(t testing.TB, client bool, cfg Config) *bench {
	cfg, err := cfg.checked()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{
		t: t, c: newCore(ConnInfo{Client: client, Transport: QUIC}, &cfg),
		now:     time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		over:    make(map[*request]int),
		bound:   make(map[streamID]*track.SubgroupWriter),
		serving: make(map[streamID]int),
		sending: make(map[streamID]int),
		filled:  make(map[streamID]*fetchSink),
	}
	b.do(b.c.start(b.now))
	return b
}

func (b *bench) handle(ev event) {
	b.do(b.c.handle(b.now, ev))
	for len(b.calls) > 0 {
		ev := b.calls[0]
		b.calls = b.calls[1:]
		b.do(b.c.handle(b.now, ev))
	}
	b.check()
}

func (b *bench) do(acts []action) {
	for _, a := range acts {
		switch a := a.(type) {
		case actAsk:
			req := requestOf(a.req)
			b.asked = append(b.asked, req)
			if b.answer != nil {
				if ev := b.answer(req.sid); ev != nil {
					b.calls = append(b.calls, ev)
				}
			}
		case actOver:
			b.over[a.req]++
			a.req.end(a.cause)
		case actBind:
			if w, err := a.t.Subgroup(track.HeaderFromWire(a.header)); err == nil {
				b.bound[a.sid] = w
			} else {
				b.calls = append(b.calls, evSubgroupEnd{a.sid, err})
			}
		case actStop:
			b.stopFill(a.sid)
			if w := b.bound[a.sid]; w != nil {
				w.Abort(a.code)
				delete(b.bound, a.sid)
				b.calls = append(b.calls, evSubgroupEnd{sid: a.sid})
			}
		case actServe:
			b.serving[a.sid]++
		case actServeStop:
			if b.serving[a.sid]--; b.serving[a.sid] < 0 {
				b.t.Fatalf("stream %d is stopped but not served", a.sid)
			}
			b.calls = append(b.calls, evServed{sid: a.sid, code: wire.PublishDoneSubscriptionEnded})
		case actEndTrack:
			a.t.End(a.code, a.reason)
		case actStarted:
			a.f(nil, a.err)
		case actUpdated:
			a.f(a.r, a.err)
		case actServeFetch, actServeFetchStop, actFill, actCall:
			b.doFetch(a)
		case actTell:
			a.f(a.err)
		case actTold:
			_ = a.f(a.params)
		case actAskUpdate:
			b.calls = append(b.calls, a.ask())
		case actReply:
			a.to <- a.r // the channel has one slot: a second answer blocks, and fails
		}
	}
}

func requestOf(req any) *request {
	switch r := req.(type) {
	case *SubscribeRequest:
		return r.request
	case *PublishRequest:
		return r.request
	case *PublishNamespaceRequest:
		return r.request
	case *SubscribeNamespaceRequest:
		return r.request
	case *FetchRequest:
		return r.request
	case *TrackStatusRequest:
		return r.request
	case *SubscribeTracksRequest:
		return r.request
	}
	panic("unknown request")
}

// check checks what holds between any two events.
func (b *bench) check() {
	c := b.c
	held, pending := 0, 0
	for _, st := range c.streams {
		held += len(st.buf)
		if st.pending {
			pending++
		}
	}
	l := c.cfg.Limits
	feeds := 0
	for _, f := range c.feeds {
		feeds += len(f.open)
	}
	for _, tt := range []struct {
		what      string
		got, most int
	}{
		{"bytes held", c.held, l.ControlBytes},
		{"unanswered requests", c.unanswered, l.Requests + 1},
		{"subscriptions", c.incoming, l.Subscriptions},
		{"tracks", len(c.feeds) + len(c.offers), l.Tracks},
		{"namespaces", c.offered, l.Namespaces},
		{"prefixes", len(c.watchers), l.Namespaces},
		{"prefixes of tracks", len(c.trackers), l.Namespaces},
		{"offers", c.offering, l.Subscriptions},
		{"data streams", len(c.data), l.DataStreams},
		{"early data streams", len(c.parked), l.EarlyStreams},
		{"bound streams", feeds, len(c.data)},
		{"fetches", c.fetching, l.Fetches},
		{"joining fetches", len(c.joins), c.fetching},
		{"early datagrams", len(c.early.list), l.EarlyDatagrams},
		{"fetch streams", len(c.filling), len(c.fetches)},
	} {
		if tt.got < 0 || tt.got > tt.most {
			b.t.Fatalf("%s: %d, at most %d", tt.what, tt.got, tt.most)
		}
	}
	if c.err == nil && (held != c.held || pending != c.unanswered) {
		b.t.Fatalf("held %d and unanswered %d, counted %d and %d", c.held, c.unanswered, held, pending)
	}
}

// finish ends the session and checks that nobody is left waiting.
func (b *bench) finish() {
	b.handle(evLost{errors.New("over")})
	if b.c.err == nil {
		b.t.Fatal("the session is not over")
	}
	for i, ch := range b.replies {
		if len(ch) != 1 {
			b.t.Errorf("call %d has %d answers", i, len(ch))
		}
	}
	for _, r := range b.asked {
		if b.over[r] != 1 {
			b.t.Errorf("request on stream %d ended %d times", r.sid, b.over[r])
		}
	}
	b.finishFetches()
	for _, tt := range []struct {
		what string
		n    int
	}{
		{"subscriptions", b.c.incoming},
		{"namespaces", b.c.offered},
		{"requests", b.c.unanswered},
		{"feeds", len(b.c.feeds)},
		{"offers of the peer", len(b.c.offers)},
		{"offers", b.c.offering},
		{"served", len(b.c.served)},
		{"watchers", len(b.c.watchers)},
		{"trackers", len(b.c.trackers)},
	} {
		if tt.n != 0 {
			b.t.Errorf("left over: %d %s", tt.n, tt.what)
		}
	}
}

func (b *bench) reply() chan reply {
	ch := make(chan reply, 1)
	b.replies = append(b.replies, ch)
	return ch
}
