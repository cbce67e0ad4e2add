package e2e_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/transport"
	"github.com/broadcastd/broadcastd/moqt/wire"
	"github.com/broadcastd/broadcastd/test/harness"
)

// A target is a daemon that hostile peers connect to.
type target struct {
	d   *harness.Daemon
	pin []byte
}

// dial connects a peer that says nothing yet.
func (g target) dial(t *testing.T, scheme string) *moqttest.Peer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := transport.Dial(ctx, scheme+"://"+g.d.MoQ+"/", transport.DialConfig{CertSHA256: [][]byte{g.pin}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseWithError(wire.SessionNoError, "") })
	return moqttest.NewPeer(t, conn)
}

// TestHostilePeers lets peers break every rule against a daemon that serves
// somebody else: each loses its own session, with the code that the draft names,
// or is refused. The other sees no gap, and the daemon keeps nothing of them.
func TestHostilePeers(t *testing.T) {
	t.Parallel()
	d := harness.Start(t, harness.Options{Args: []string{"--demo"}})
	pin, err := hex.DecodeString(d.CertHash(t))
	if err != nil {
		t.Fatal(err)
	}
	g := target{d, pin}
	d.WaitLive(t, "stream/local/demo", 10*time.Second)
	out := filepath.Join(t.TempDir(), "out.mp4")
	viewer := command(t, append([]string{"record", "--namespace", "stream/local/demo", "--output", out}, relayURL(t, d, "moqt")...)...)
	harness.Eventually(t, 10*time.Second, "a recording", func(context.Context) error {
		_, err := os.Stat(out)
		return err
	})
	goroutines, heap := usage(t, d)

	t.Run("peers", func(t *testing.T) {
		for _, scheme := range []string{"moqt", "https"} {
			t.Run(scheme+"/slow", func(t *testing.T) { t.Parallel(); slow(t, g, scheme) })
			t.Run(scheme+"/floods", func(t *testing.T) { t.Parallel(); floods(t, g, scheme) })
			t.Run(scheme+"/closed", func(t *testing.T) { t.Parallel(); closed(t, g, scheme) })
			t.Run(scheme+"/open", func(t *testing.T) { t.Parallel(); open(t, g, scheme) })
		}
	})

	var now, inUse float64
	harness.Eventually(t, 15*time.Second, "the daemon as before", func(context.Context) error {
		now, inUse = usage(t, d)
		if now > goroutines+20 || inUse > heap+32<<20 {
			return fmt.Errorf("%v goroutines and %v MiB of heap, before %v and %v", now, inUse/(1<<20), goroutines, heap/(1<<20))
		}
		return nil
	})
	t.Logf("goroutines %v, then %v; heap %.1f MiB, then %.1f MiB", goroutines, now, heap/(1<<20), inUse/(1<<20))
	if _, err := d.Stop(); err != nil {
		t.Errorf("the daemon ended with %v", err)
	}
	if err := viewer.Wait(5 * time.Second); err != nil || !strings.Contains(viewer.Log(), "no gap") {
		t.Errorf("the viewer ended with %v and said %q, want that there was no gap", err, viewer.Log())
	}
}

// paused accepts a PUBLISH that nobody reads yet.
var paused = wire.RequestOK{Params: wire.Params{Forward: new(false)}}

// usage returns how many goroutines the daemon has and how many bytes of heap.
func usage(t *testing.T, d *harness.Daemon) (goroutines, heap float64) {
	t.Helper()
	res, err := http.Get("http://" + d.Admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	value := func(name string) float64 {
		m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(body)
		if m == nil {
			t.Fatalf("/metrics has no %s", name)
		}
		v, err := strconv.ParseFloat(string(m[1]), 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	return value("go_goroutines"), value("go_memstats_heap_inuse_bytes")
}

// hostile is a namespace of what hostile peers publish and ask for.
func hostile(name ...any) track.Namespace {
	return track.MustNamespace("stream", "local", "hostile"+fmt.Sprint(name...))
}

func ask(id uint64) wire.Subscribe {
	return wire.Subscribe{RequestID: id, Track: track.Name{Namespace: hostile(), Name: "none"}}
}

// frame is a message with any type and body, and the length that the body has.
func frame(typ wire.MessageType, body ...any) []byte {
	b := moqttest.Bytes(body...)
	return moqttest.Bytes(uint64(typ), []byte{byte(len(b) >> 8), byte(len(b))}, b)
}

// closed is about what costs a peer its session.
func closed(t *testing.T, g target, scheme string) {
	setup := wire.Setup{}
	huge := moqttest.Bytes(uint64(math.MaxUint64))
	fields := bytes.Repeat([]byte{1, 'x'}, 33)
	first := func(parts ...any) func(*moqttest.Peer) {
		return func(p *moqttest.Peer) { p.OpenUni(parts...) }
	}
	uni := func(parts ...any) func(*moqttest.Peer) {
		return func(p *moqttest.Peer) { p.Setup(setup); p.OpenUni(parts...) }
	}
	control := func(parts ...any) func(*moqttest.Peer) {
		return func(p *moqttest.Peer) { c, _ := p.Setup(setup); c.Send(parts...) }
	}
	request := func(parts ...any) func(*moqttest.Peer) {
		return func(p *moqttest.Peer) { p.Setup(setup); p.Open(parts...) }
	}
	// A session reads datagrams from the first track on.
	datagram := func(b ...byte) func(*moqttest.Peer) {
		return func(p *moqttest.Peer) {
			p.Setup(setup)
			name := track.Name{Namespace: hostile(scheme), Name: fmt.Sprintf("datagram %x", b)}
			p.Open(wire.Publish{RequestID: 0, Track: name, TrackAlias: 1}).Expect(paused)
			_ = p.Conn.SendDatagram(b)
		}
	}
	twice := wire.AppendKeyValues(nil, wire.KeyValue{Type: 7, Bytes: []byte("a")}, wire.KeyValue{Type: 7, Bytes: []byte("b")})
	goaway := wire.Goaway{RequestID: new(uint64(1))}
	token := wire.Token{AliasType: wire.TokenRegister, Alias: 1, Value: []byte("x")}
	path, authority := "no slash", "a b"
	pathCode, authorityCode := wire.SessionMalformedPath, wire.SessionMalformedAuthority
	if scheme == "https" { // which has no use for either
		path, authority = "/", "a.example"
		pathCode, authorityCode = wire.SessionInvalidPath, wire.SessionInvalidAuthority
	}
	for _, tt := range []struct {
		name string
		peer func(*moqttest.Peer)
		want wire.SessionCode
	}{
		{"unknown stream before SETUP", first(uint64(0x99)), wire.SessionProtocolViolation},
		{"unknown stream", uni(uint64(0x99)), wire.SessionProtocolViolation},
		{"stream ends inside its header", func(p *moqttest.Peer) { p.Setup(setup); p.OpenUni([]byte{0x10, 1}).Close() }, wire.SessionProtocolViolation},
		{"second control stream", uni(setup), wire.SessionProtocolViolation},
		{"second SETUP", control(setup), wire.SessionProtocolViolation},
		{"SUBSCRIBE on the control stream", control(ask(0)), wire.SessionProtocolViolation},
		{"control stream ends", func(p *moqttest.Peer) { c, _ := p.Setup(setup); c.Close() }, wire.SessionProtocolViolation},
		{"control stream is reset", func(p *moqttest.Peer) {
			c, _ := p.Setup(setup)
			p.Open(ask(0)).Type() // a reset may overtake SETUP
			c.Reset(wire.ResetCancelled)
		}, wire.SessionProtocolViolation},
		{"the daemon's control stream is stopped", func(p *moqttest.Peer) { _, s := p.Setup(setup); s.Stop(wire.ResetCancelled) }, wire.SessionProtocolViolation},
		{"known option twice", first(frame(wire.TypeSetup, twice)), wire.SessionProtocolViolation},
		{"option of 2^64-1 bytes", first(frame(wire.TypeSetup, []byte{7}, huge)), wire.SessionProtocolViolation},
		{"PATH", first(wire.Setup{Path: &path}), pathCode},
		{"AUTHORITY", first(wire.Setup{Authority: &authority}), authorityCode},
		{"a token registered in SETUP counts as shown", first(wire.Setup{Tokens: []wire.Token{token}}), wire.SessionUnauthorized},
		{"token alias in SETUP", first(wire.Setup{Tokens: []wire.Token{{AliasType: wire.TokenUseAlias, Alias: 1}}}), wire.SessionProtocolViolation},
		{"unknown message", request(uint64(0x7777)), wire.SessionProtocolViolation},
		{"request stream begins with REQUEST_OK", request(wire.RequestOK{}), wire.SessionProtocolViolation},
		{"request stream begins with NAMESPACE", request(wire.NamespaceMsg{Suffix: hostile()}), wire.SessionProtocolViolation},
		{"request stream begins with GOAWAY", request(wire.Goaway{}), wire.SessionProtocolViolation},
		{"an answer on the stream of one's own request", request(ask(0), wire.SubscribeOK{}), wire.SessionProtocolViolation},
		{"length too large", request(frame(wire.TypeSubscribe, ask(0).Append(nil), []byte{0})), wire.SessionProtocolViolation},
		{"length too small", request(uint64(wire.TypeSubscribe), []byte{0, 3}, ask(0).Append(nil)), wire.SessionProtocolViolation},
		{"stream ends inside a message", func(p *moqttest.Peer) { p.Setup(setup); p.Open(moqttest.Bytes(ask(0))[:6]).Close() }, wire.SessionProtocolViolation},
		{"odd request ID", request(ask(1)), wire.SessionInvalidRequestID},
		{"request ID twice", func(p *moqttest.Peer) { p.Setup(setup); p.Open(ask(0)).Type(); p.Open(ask(0)) }, wire.SessionInvalidRequestID},
		{"33 fields", request(frame(wire.TypePublishNamespace, []byte{0, 33}, fields, []byte{0})), wire.SessionProtocolViolation},
		{"33 fields of a prefix", request(frame(wire.TypeSubscribeNamespace, []byte{0, 33}, fields, []byte{0})), wire.SessionProtocolViolation},
		{"2^64-1 fields", request(frame(wire.TypePublishNamespace, []byte{0}, huge)), wire.SessionProtocolViolation},
		{"empty field", request(frame(wire.TypePublishNamespace, []byte{0, 1, 0, 0})), wire.SessionProtocolViolation},
		{"name of 2^64-1 bytes", request(frame(wire.TypeSubscribe, []byte{0, 1, 1, 'x'}, huge, []byte{0})), wire.SessionProtocolViolation},
		{"full name of 4097 bytes", request(frame(wire.TypeSubscribe, []byte{0, 1, 1, 'x'}, wire.AppendString(nil, strings.Repeat("n", 4096)), []byte{0})), wire.SessionProtocolViolation},
		{"unknown parameter", request(frame(wire.TypeSubscribe, []byte{0, 1, 1, 'x', 1, 'y', 1, 0x7a, 0})), wire.SessionProtocolViolation},
		{"token that cannot be decoded", request(frame(wire.TypeSubscribe, []byte{0, 1, 1, 'x', 1, 'y', 1, 3, 1, 9})), wire.SessionKeyValueFormattingError},
		{"more tokens registered than the cache takes", request(wire.Subscribe{Track: ask(0).Track, Params: wire.Params{Tokens: []wire.Token{
			token, {AliasType: wire.TokenRegister, Alias: 2, Value: make([]byte, 16<<10)},
		}}}), wire.SessionAuthTokenCacheOverflow},
		{"token alias registered twice", request(wire.Subscribe{Track: ask(0).Track, Params: wire.Params{Tokens: []wire.Token{token, token}}}), wire.SessionDuplicateAuthTokenAlias},
		{"second GOAWAY", control(goaway, goaway), wire.SessionProtocolViolation},
		{"truncated GOAWAY", control(frame(wire.TypeGoaway, []byte{5, 'm'})), wire.SessionProtocolViolation},
		{"GOAWAY with a URI of 8193 bytes", control(wire.Goaway{NewSessionURI: strings.Repeat("u", 8193), RequestID: new(uint64(1))}), wire.SessionProtocolViolation},
		{"a client's GOAWAY with a URI", control(wire.Goaway{NewSessionURI: "moqt://b", RequestID: new(uint64(1))}), wire.SessionProtocolViolation},
		{"GOAWAY with a request ID of one's own", control(wire.Goaway{RequestID: new(uint64(2))}), wire.SessionInvalidRequestID},
		{"datagram of no type", datagram(0x40), wire.SessionProtocolViolation},
		{"datagram that is cut", datagram(0), wire.SessionProtocolViolation},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := g.dial(t, scheme)
			tt.peer(p)
			p.ExpectClose(tt.want)
		})
	}
}

// open is about what a peer may do, or what is refused and costs no session.
func open(t *testing.T, g target, scheme string) {
	for _, tt := range []struct {
		name string
		peer func(p *moqttest.Peer)
	}{
		{"unknown options, repeated", func(p *moqttest.Peer) {
			p.Setup(wire.Setup{Other: []wire.KeyValue{{Type: 0x9d, Bytes: []byte("a")}, {Type: 0x9d, Bytes: []byte("b")}}})
		}},
		{"requests and data before SETUP", func(p *moqttest.Peer) {
			p.OpenUni(wire.SubgroupHeader{Alias: 9, DefaultPriority: true}, []byte{0, 1, 'x'}).Close()
			early := p.Open(ask(100))
			p.Setup(wire.Setup{})
			early.ExpectError(wire.RequestDoesNotExist, wire.TypeSubscribe)
		}},
		{"unknown token alias", func(p *moqttest.Peer) {
			p.Setup(wire.Setup{})
			m := ask(100)
			m.Params.Tokens = []wire.Token{{AliasType: wire.TokenUseAlias, Alias: 7}}
			p.Open(m).ExpectError(wire.RequestMalformedAuthToken, wire.TypeSubscribe)
		}},
		{"answer to no FETCH", func(p *moqttest.Peer) {
			p.Setup(wire.Setup{})
			p.OpenUni([]byte{5, 1}).ExpectStop(wire.ResetCancelled)
		}},
		{"second SUBSCRIBE to a track", func(p *moqttest.Peer) {
			p.Setup(wire.Setup{})
			name := track.Name{Namespace: track.MustNamespace("stream", "local", "demo"), Name: "catalog"}
			if typ := p.Open(wire.Subscribe{RequestID: 100, Track: name}).Type(); typ != wire.TypeSubscribeOK {
				panic(fmt.Sprint("SUBSCRIBE is answered with ", typ))
			}
			p.Open(wire.Subscribe{RequestID: 102, Track: name}).ExpectError(wire.RequestDuplicateSubscription, wire.TypeSubscribe)
		}},
		{"an object of 2^62 bytes", func(p *moqttest.Peer) {
			p.Setup(wire.Setup{})
			name := track.Name{Namespace: hostile(scheme), Name: "large"}
			p.Open(wire.Publish{RequestID: 100, Track: name, TrackAlias: 1}).Expect(paused)
			p.OpenUni(wire.SubgroupHeader{Alias: 1, DefaultPriority: true}, []byte{0}, uint64(1<<62)).ExpectStop(wire.ResetExcessiveLoad)
		}},
		{"more tracks than a session may publish", func(p *moqttest.Peer) {
			p.Setup(wire.Setup{})
			publish := func(i uint64) *moqttest.PeerStream {
				return p.Open(wire.Publish{RequestID: 100 + 2*i, Track: track.Name{Namespace: hostile(scheme, "many"), Name: fmt.Sprint(i)}, TrackAlias: i})
			}
			for i := range uint64(64) {
				publish(i).Expect(paused)
			}
			publish(64).ExpectError(wire.RequestExcessiveLoad, wire.TypePublish)
		}},
		{"datagrams for nobody", func(p *moqttest.Peer) {
			p.Setup(wire.Setup{})
			for i := range uint64(1000) {
				_ = p.Conn.SendDatagram(wire.Datagram{Alias: i, Payload: make([]byte, 1000)}.Append(nil))
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := g.dial(t, scheme)
			tt.peer(p)
			healthy(p)
		})
	}
}

// healthy checks that the session of p still answers.
func healthy(p *moqttest.Peer) {
	p.Open(ask(1<<40)).ExpectError(wire.RequestDoesNotExist, wire.TypeSubscribe)
	p.ExpectOpen()
}

// slow is about what ends only after a while: what a peer begins and never
// brings to an end.
func slow(t *testing.T, g target, scheme string) {
	silent, half, early := g.dial(t, scheme), g.dial(t, scheme), g.dial(t, scheme)
	half.OpenUni(moqttest.Bytes(wire.Setup{Implementation: "x"})[:4])
	early.OpenUni(wire.SubgroupHeader{Alias: 9, DefaultPriority: true}, []byte{0, 1, 'x'})

	// As many streams as there is credit for, all of them held.
	holder := g.dial(t, scheme)
	holder.Setup(wire.Setup{})
	var requests, headers, aliens []*moqttest.PeerStream
	for range 100 {
		requests = append(requests, holder.Open([]byte{3}))
		headers = append(headers, holder.OpenUni([]byte{0x10}))
	}
	for i := range uint64(100) {
		aliens = append(aliens, holder.OpenUni(wire.SubgroupHeader{Alias: 1000 + i, DefaultPriority: true}, []byte{0, 1, 'x'}))
	}
	stops := map[wire.ResetCode]int{}
	for _, s := range aliens {
		stops[s.Stopped()]++
	}
	if stops[wire.ResetExcessiveLoad] != 100-64 || stops[wire.ResetCancelled] != 64 {
		t.Errorf("100 streams of unknown tracks were stopped with %v, want 64 after their wait and the others at once", stops)
	}
	for _, p := range []*moqttest.Peer{silent, half, early} {
		p.ExpectClose(wire.SessionControlMessageTimeout)
	}
	for i := range requests {
		requests[i].ExpectReset(wire.ResetCancelled)
		headers[i].ExpectStop(wire.ResetCancelled)
	}
	healthy(holder)
}

// floods are about a great number of things, each of which is fine.
func floods(t *testing.T, g target, scheme string) {
	const many = 10_000
	request := func(make func(i uint64) wire.Request) func(*moqttest.Peer, uint64) error {
		return func(p *moqttest.Peer, i uint64) error {
			st, err := p.Conn.OpenStream(t.Context())
			if err != nil {
				return err
			}
			if _, err := st.Write(moqttest.Bytes(make(i))); err != nil {
				return err
			}
			if _, err := st.Read([]byte{0}); err != nil { // the answer has begun
				return err
			}
			st.CancelWrite(wire.ResetCancelled)
			st.CancelRead(wire.ResetCancelled)
			return nil
		}
	}
	uni := func(reset bool, parts ...any) func(*moqttest.Peer, uint64) error {
		return func(p *moqttest.Peer, _ uint64) error {
			st, err := p.Conn.OpenUniStream()
			for ; errors.Is(err, moqt.ErrStreamLimit); st, err = p.Conn.OpenUniStream() {
				time.Sleep(time.Millisecond) // there is no event for stream credit
			}
			if err != nil {
				return err
			}
			_, _ = st.Write(moqttest.Bytes(parts...)) // it may have been stopped
			if reset {
				st.CancelWrite(wire.ResetCancelled)
				return nil
			}
			_ = st.Close()
			return nil
		}
	}
	for _, tt := range []struct {
		name string
		n    int
		do   func(*moqttest.Peer, uint64) error
	}{
		{"streams with half a header", many, uni(true, []byte{0x10})},
		{"streams of unknown tracks", many, uni(false, wire.SubgroupHeader{Alias: 5, DefaultPriority: true}, []byte{0, 100}, make([]byte, 100))},
		{"request streams without a request", many, func(p *moqttest.Peer, _ uint64) error {
			st, err := p.Conn.OpenStream(t.Context())
			if err != nil {
				return err
			}
			_ = st.Close()
			_, _ = st.Read([]byte{0}) // until it is reset
			return nil
		}},
		{"SUBSCRIBE", many, request(func(i uint64) wire.Request {
			return wire.Subscribe{RequestID: 2 * i, Track: track.Name{Namespace: hostile(), Name: fmt.Sprint(i)}}
		})},
		{"SUBSCRIBE_NAMESPACE", many, request(func(i uint64) wire.Request {
			return wire.SubscribeNamespace{RequestID: 2 * i, Prefix: hostile(scheme, i)}
		})},
		{"PUBLISH_NAMESPACE", 1000, request(func(i uint64) wire.Request {
			return wire.PublishNamespace{RequestID: 2 * i, Namespace: hostile(scheme, i)}
		})},
		{"PUBLISH", 1000, request(func(i uint64) wire.Request {
			return wire.Publish{RequestID: 2 * i, Track: track.Name{Namespace: hostile(scheme, "p", i), Name: "t"}, TrackAlias: i}
		})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := g.dial(t, scheme)
			p.Setup(wire.Setup{})
			began := time.Now()
			const workers = 32
			errs := make(chan error, workers)
			for w := range workers {
				go func() {
					for i := w; i < tt.n; i += workers {
						if err := tt.do(p, uint64(i)); err != nil {
							errs <- err
							return
						}
					}
					errs <- nil
				}()
			}
			for range workers {
				if err := <-errs; err != nil {
					t.Errorf("the session did not bear it: %v", err)
				}
			}
			t.Logf("%d in %v", tt.n, time.Since(began))
			healthy(p)
		})
	}
}
