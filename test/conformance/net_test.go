package conformance_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	cam   = wire.MustNamespace("stream", "local", "cam")
	video = wire.FullTrackName{Namespace: cam, Name: "video"}
	audio = wire.FullTrackName{Namespace: cam, Name: "audio"}
)

func ns(fields ...string) wire.Namespace { return wire.MustNamespace(fields...) }

// A net is a relay and the scripted peers that are connected to it.
type net struct {
	t   *testing.T
	ctx context.Context
	r   *relay.Relay
	wg  sync.WaitGroup
}

// run runs f with a relay, in virtual time, and checks that everything ends.
func run(t *testing.T, cfg relay.Config, f func(*testing.T, *net)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		r, err := relay.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		n := &net{t: t, ctx: ctx, r: r}
		n.wg.Go(func() { r.Run(ctx) })
		defer func() { // also when f fails
			cancel(errors.New("the test is over"))
			n.wg.Wait()
		}()
		f(t, n)
	})
}

// A peer is a scripted client of the relay.
type peer struct {
	*moqttest.Peer
	control, relay *moqttest.PeerStream // the control streams, its own and the relay's
	next           uint64
}

// id returns the peer's next request ID.
func (p *peer) id() uint64 {
	id := p.next
	p.next += 2
	return id
}

// peer connects a client whose SETUP is plain.
func (n *net) peer() *peer { return n.dial(moqttest.Config{}, wire.Setup{}) }

func (n *net) dial(link moqttest.Config, setup wire.Setup) *peer {
	n.t.Helper()
	client, server := moqttest.Pair(link)
	n.wg.Go(func() { n.r.Serve(n.ctx, server) })
	p := &peer{Peer: moqttest.NewPeer(n.t, client)}
	p.control, p.relay = p.Setup(setup)
	return p
}

// cut ends the peer's connection without a word.
func (p *peer) cut() { p.Conn.(*moqttest.Conn).Cut() }

// announce publishes a namespace.
func (p *peer) announce(space wire.Namespace) *moqttest.PeerStream {
	st := p.Open(wire.PublishNamespace{RequestID: p.id(), Namespace: space})
	st.Expect(wire.RequestOK{})
	return st
}

// publish offers a track, which is accepted.
func (p *peer) publish(t *testing.T, m wire.Publish) *moqttest.PeerStream {
	t.Helper()
	m.RequestID = p.id()
	st := p.Open(m)
	message[wire.RequestOK](t, st, wire.TypePublish)
	return st
}

// asked takes the next request of the relay, which must be a SUBSCRIBE.
func (p *peer) asked(t *testing.T) (wire.Subscribe, *moqttest.PeerStream) {
	t.Helper()
	st := p.Accept()
	return message[wire.Subscribe](t, st, 0), st
}

// subscribe asks for a track and returns the request stream.
func (p *peer) subscribe(name wire.FullTrackName, params wire.Params) *moqttest.PeerStream {
	return p.Open(wire.Subscribe{RequestID: p.id(), Track: name, Params: params})
}

// message reads one message, which must be an M. An answer is read as the
// answer to a request.
func message[M wire.Message](t *testing.T, st *moqttest.PeerStream, request wire.MessageType) M {
	t.Helper()
	typ, body := st.Message()
	m, err := wire.ParseMessage(typ, body, request)
	if err != nil {
		t.Fatalf("read %v: %v", typ, err)
	}
	got, ok := m.(M)
	if !ok {
		t.Fatalf("read %v %+v, want %T", typ, m, got)
	}
	return got
}

// refused reads the REQUEST_ERROR to a request, whatever follows it.
func refused(t *testing.T, st *moqttest.PeerStream, request wire.MessageType, code wire.RequestCode) wire.RequestError {
	t.Helper()
	m := message[wire.RequestError](t, st, request)
	if m.Code != code {
		t.Fatalf("refused with %v %q, want %v", m.Code, m.Reason, code)
	}
	return m
}

// silent checks that nothing has come on st.
func silent(t *testing.T, what string, st *moqttest.PeerStream) {
	t.Helper()
	synctest.Wait()
	if st.Pending() {
		typ, body := st.Message()
		t.Errorf("%s: got %v %x", what, typ, body)
	}
}

// noRequest checks that the relay asks p for nothing.
func (p *peer) noRequest(t *testing.T, what string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if st, err := p.Conn.AcceptStream(ctx); err == nil {
		buf := make([]byte, 100)
		_ = st.SetReadDeadline(time.Now().Add(time.Second))
		n, _ := st.Read(buf)
		t.Errorf("%s: the relay sent the request %x", what, buf[:n])
	}
}

// noData checks that the relay sends p no objects.
func (p *peer) noData(t *testing.T, what string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := p.Conn.AcceptUniStream(ctx); err == nil {
		t.Errorf("%s: the relay opened a data stream", what)
	}
}

// data returns what the data streams carry that the relay opens from now on.
func (p *peer) data(t *testing.T) (out []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	for {
		st, err := p.Conn.AcceptUniStream(ctx)
		if err != nil {
			return out
		}
		_ = st.SetReadDeadline(time.Now().Add(time.Second))
		b, _ := io.ReadAll(st)
		out = append(out, string(b))
	}
}

// A live is a track that runs from one scripted peer through the relay to
// another.
type live struct {
	*net
	pub, sub       *peer
	space          *moqttest.PeerStream // the publisher's PUBLISH_NAMESPACE
	asked          wire.Subscribe       // what the relay asked the publisher for
	up, down       *moqttest.PeerStream // the request streams of both subscriptions
	alias, relayed uint64               // the track's alias, upstream and downstream
	ok             wire.SubscribeOK     // the relay's
}

const upstreamAlias = 9

// through runs f with a track that runs.
func through(t *testing.T, cfg relay.Config, ok wire.SubscribeOK, params wire.Params, f func(*testing.T, *live)) {
	t.Helper()
	run(t, cfg, func(t *testing.T, n *net) {
		l := &live{net: n, pub: n.peer(), sub: n.peer(), alias: upstreamAlias}
		l.space = l.pub.announce(cam)
		l.down = l.sub.subscribe(video, params)
		l.asked, l.up = l.pub.asked(t)
		ok.TrackAlias = upstreamAlias
		l.up.Send(ok)
		l.ok = message[wire.SubscribeOK](t, l.down, wire.TypeSubscribe)
		l.relayed = l.ok.TrackAlias
		f(t, l)
	})
}

// header is that of a group in one subgroup, from its first object.
func header(alias, group uint64) wire.SubgroupHeader {
	return wire.SubgroupHeader{Alias: alias, Group: group, DefaultPriority: true, EndOfGroup: true, FirstObject: true}
}

// object is an object that follows on the one before it, without properties.
func object(payload string) []byte { return objectOf(wire.ObjectHeader{}, false, payload) }

func objectOf(h wire.ObjectHeader, properties bool, payload string) []byte {
	h.Length = uint64(len(payload))
	return append(h.Append(nil, properties), payload...)
}

// send opens a data stream upstream.
func (l *live) send(parts ...any) *moqttest.PeerStream { return l.pub.OpenUni(parts...) }

// An obj is an object that came on a subgroup stream.
type obj struct {
	id         uint64
	status     wire.ObjectStatus
	payload    string
	properties string
}

// A group is a subgroup stream that was read to its end.
type group struct {
	header  wire.SubgroupHeader
	objects []obj
	err     error // nil after FIN
}

func (g group) payloads() (out []string) {
	for _, o := range g.objects {
		out = append(out, o.payload)
	}
	return out
}

// read reads a subgroup stream to its end.
func read(t *testing.T, st *moqttest.PeerStream) (g group) {
	t.Helper()
	b, err := st.ReadAll()
	g.err = err
	h, n, perr := wire.ParseSubgroupHeader(b)
	if perr != nil {
		t.Fatalf("subgroup stream %x: %v", b, perr)
	}
	g.header = h
	var ids wire.ObjectIDs
	for b = b[n:]; len(b) > 0; {
		o, n, err := wire.ParseObjectHeader(b, h.Properties)
		if err != nil || uint64(len(b)-n) < o.Length {
			if g.err == nil {
				t.Fatalf("FIN inside an object: %x", b)
			}
			return g
		}
		id, _ := ids.Next(o.IDDelta)
		end := n + int(o.Length)
		g.objects = append(g.objects, obj{id, o.Status, string(b[n:end]), string(o.Properties)})
		b = b[end:]
	}
	return g
}

// groups reads n subgroup streams to their ends, in order of their groups and
// subgroups.
func (p *peer) groups(t *testing.T, n int) []group {
	t.Helper()
	var out []group
	for range n {
		out = append(out, read(t, p.AcceptUni()))
	}
	slices.SortStableFunc(out, func(a, b group) int {
		return wire.Location{Group: a.header.Group, Object: a.header.Subgroup}.Compare(
			wire.Location{Group: b.header.Group, Object: b.header.Subgroup})
	})
	return out
}

func ms(n int) *time.Duration { return new(time.Duration(n) * time.Millisecond) }
