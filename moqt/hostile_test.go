package moqt_test

import (
	"math"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// script runs f as the peer of one session, a server unless client is set.
func script(t *testing.T, client bool, link moqttest.Config, cfg moqt.Config, f func(t *testing.T, p *moqttest.Peer, s *moqt.Session)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cc, sc := moqttest.Pair(link)
		mine, theirs := sc, cc
		if client {
			mine, theirs = cc, sc
		}
		s := run(t, mine, cfg)
		f(t, moqttest.NewPeer(t, theirs), s)
	})
}

func sub(id uint64) wire.Subscribe { return wire.Subscribe{RequestID: id, Track: video} }

// frame is a message with any type and body, and the length that the body has.
func frame(typ uint64, body ...any) []byte {
	b := moqttest.Bytes(body...)
	return moqttest.Bytes(typ, []byte{byte(len(b) >> 8), byte(len(b))}, b)
}

// TestClose is about what ends a session, and with which code.
func TestClose(t *testing.T) {
	const client = true
	setup := wire.Setup{}
	huge := moqttest.Bytes(uint64(math.MaxUint64))
	setUp := func(p *moqttest.Peer) *moqttest.PeerStream {
		control, _ := p.Setup(setup)
		return control
	}
	request := func(parts ...any) func(*moqttest.Peer) {
		return func(p *moqttest.Peer) {
			setUp(p)
			p.Open(parts...)
		}
	}
	uni := func(parts ...any) func(*moqttest.Peer) {
		return func(p *moqttest.Peer) {
			setUp(p)
			p.OpenUni(parts...)
		}
	}
	first := func(parts ...any) func(*moqttest.Peer) {
		return func(p *moqttest.Peer) { p.OpenUni(parts...) }
	}
	control := func(parts ...any) func(*moqttest.Peer) {
		return func(p *moqttest.Peer) { setUp(p).Send(parts...) }
	}
	for _, tt := range []struct {
		name   string
		client bool // the session is one
		link   moqttest.Config
		peer   func(*moqttest.Peer)
		want   wire.SessionCode
	}{
		// The control streams (sections 3.3 and 10.3).
		{name: "3.3 no SETUP", peer: func(*moqttest.Peer) {}, want: wire.SessionControlMessageTimeout},
		{name: "3.3 no SETUP from a server", client: client, peer: func(*moqttest.Peer) {}, want: wire.SessionControlMessageTimeout},
		{name: "3.3 half a SETUP", peer: first(moqttest.Bytes(setup)[:2]), want: wire.SessionControlMessageTimeout},
		{name: "3.3 a byte of a SETUP's options", peer: first(moqttest.Bytes(wire.Setup{Implementation: "x"})[:6]), want: wire.SessionControlMessageTimeout},
		{name: "3.3 second control stream", peer: uni(setup), want: wire.SessionProtocolViolation},
		{name: "3.3 control stream ends", peer: func(p *moqttest.Peer) { setUp(p).Close() }, want: wire.SessionProtocolViolation},
		{name: "3.3 control stream is reset", peer: func(p *moqttest.Peer) {
			control := setUp(p)
			synctest.Wait() // a reset may overtake what it cuts
			control.Reset(wire.ResetCancelled)
		}, want: wire.SessionProtocolViolation},
		{name: "3.3 control stream ends before SETUP", peer: func(p *moqttest.Peer) { p.OpenUni(moqttest.Bytes(setup)[:3]).Close() }, want: wire.SessionProtocolViolation},
		{name: "3.3 our control stream is stopped", peer: func(p *moqttest.Peer) {
			_, s := p.Setup(setup)
			s.Stop(wire.ResetCancelled)
		}, want: wire.SessionProtocolViolation},
		{name: "10 SUBSCRIBE on the control stream", peer: control(sub(0)), want: wire.SessionProtocolViolation},
		{name: "10 second SETUP", peer: control(setup), want: wire.SessionProtocolViolation},
		{name: "10.3 GOAWAY instead of SETUP", peer: first(uint64(wire.TypeSetup)), want: wire.SessionControlMessageTimeout},
		{name: "10.3 known option twice", peer: first(frame(uint64(wire.TypeSetup), wire.AppendKeyValues(nil,
			wire.KeyValue{Type: 7, Bytes: []byte("a")}, wire.KeyValue{Type: 7, Bytes: []byte("b")}))), want: wire.SessionProtocolViolation},
		{name: "10.3.1.1 AUTHORITY from a server", client: client, peer: first(wire.Setup{Authority: new("a.example")}), want: wire.SessionInvalidAuthority},
		{name: "10.3.1.2 PATH from a server", client: client, peer: first(wire.Setup{Path: new("/")}), want: wire.SessionInvalidPath},
		{
			name: "10.3.1.2 PATH on WebTransport", link: moqttest.Config{Transport: moqt.WebTransport},
			peer: first(wire.Setup{Path: new("/")}), want: wire.SessionInvalidPath,
		},
		{name: "10.3.1.2 malformed PATH", peer: first(wire.Setup{Path: new("no slash")}), want: wire.SessionMalformedPath},
		{name: "10.3.1.1 malformed AUTHORITY", peer: first(wire.Setup{Authority: new("a b")}), want: wire.SessionMalformedAuthority},
		{name: "10.2.2 token alias used in SETUP", peer: first(wire.Setup{Tokens: []wire.Token{{AliasType: wire.TokenUseAlias, Alias: 1}}}), want: wire.SessionProtocolViolation},
		{name: "1.4.3 option of 2^64-1 bytes", peer: first(frame(uint64(wire.TypeSetup), []byte{7}, huge)), want: wire.SessionProtocolViolation},

		// Streams (section 3.4).
		{name: "3.4 unknown stream type", peer: uni(uint64(0x99)), want: wire.SessionProtocolViolation},
		{name: "3.4 unknown stream type before SETUP", peer: first(uint64(0x99)), want: wire.SessionProtocolViolation},
		{name: "11.4.2 reserved subgroup ID mode", peer: uni([]byte{0x16}), want: wire.SessionProtocolViolation},
		{name: "11.4 stream ends inside its header", peer: func(p *moqttest.Peer) {
			setUp(p)
			p.OpenUni([]byte{0x10, 1}).Close()
		}, want: wire.SessionProtocolViolation},
		{name: "11.3 unknown datagram type", peer: func(p *moqttest.Peer) {
			setUp(p)
			p.Open(wire.Publish{Track: video, TrackAlias: 4}) // from here on datagrams are read
			p.Conn.SendDatagram([]byte{0x40})
		}, want: wire.SessionProtocolViolation},
		{name: "11.3.1 datagram ends inside its header", peer: func(p *moqttest.Peer) {
			setUp(p)
			p.Open(wire.Publish{Track: video, TrackAlias: 4}) // from here on datagrams are read
			p.Conn.SendDatagram([]byte{0})
		}, want: wire.SessionProtocolViolation},

		// Messages (section 10).
		{name: "3.3 request stream begins with REQUEST_OK", peer: request(wire.RequestOK{}), want: wire.SessionProtocolViolation},
		{name: "3.3 request stream begins with GOAWAY", peer: request(wire.Goaway{}), want: wire.SessionProtocolViolation},
		{name: "3.3 request stream begins with SETUP", peer: request(setup), want: wire.SessionProtocolViolation},
		{name: "10 unknown message type", peer: request(uint64(0x7777)), want: wire.SessionProtocolViolation},
		{name: "10 PUBLISH_OK of the table", peer: request(sub(0), frame(0x1e, []byte{0})), want: wire.SessionProtocolViolation},
		{name: "10 length too large", peer: request(frame(3, sub(0).Append(nil), []byte{0})), want: wire.SessionProtocolViolation},
		{name: "10 length too small", peer: request(uint64(3), []byte{0, 3}, sub(0).Append(nil)), want: wire.SessionProtocolViolation},
		{name: "10 stream ends inside a message", peer: func(p *moqttest.Peer) {
			setUp(p)
			p.Open(moqttest.Bytes(sub(0))[:6]).Close()
		}, want: wire.SessionProtocolViolation},
		{name: "10 second SUBSCRIBE on a stream", peer: request(sub(0), sub(2)), want: wire.SessionProtocolViolation},
		{name: "10 SUBSCRIBE_OK on the stream of a SUBSCRIBE", peer: request(sub(0), wire.SubscribeOK{}), want: wire.SessionProtocolViolation},

		// Request IDs (section 10.1).
		{name: "10.1 odd ID from a client", peer: request(sub(1)), want: wire.SessionInvalidRequestID},
		{name: "10.1 even ID from a server", client: client, peer: request(sub(0)), want: wire.SessionInvalidRequestID},
		{name: "10.1 ID used twice", peer: func(p *moqttest.Peer) {
			setUp(p)
			p.Open(sub(0))
			p.Open(wire.PublishNamespace{RequestID: 0, Namespace: cam})
		}, want: wire.SessionInvalidRequestID},
		{name: "10.1 ID used twice by an update", peer: request(sub(0), wire.RequestUpdate{RequestID: 0}), want: wire.SessionInvalidRequestID},

		// Names and parameters (sections 2.4.1 and 10.2).
		{name: "2.4.1 33 fields", peer: request(frame(6, []byte{0, 33}, moqttest.Bytes(repeat([]byte{1, 'x'}, 33)), []byte{0})), want: wire.SessionProtocolViolation},
		{name: "2.4.1 33 fields of a prefix", peer: request(frame(0x50, []byte{0, 33}, moqttest.Bytes(repeat([]byte{1, 'x'}, 33)), []byte{0})), want: wire.SessionProtocolViolation},
		{name: "2.4.1 empty field", peer: request(frame(6, []byte{0, 1, 0, 0})), want: wire.SessionProtocolViolation},
		{name: "2.4.1 name of 2^64-1 bytes", peer: request(frame(3, []byte{0, 1, 1, 'x'}, huge, []byte{0})), want: wire.SessionProtocolViolation},
		{name: "2.4.1 full name of 4097 bytes", peer: request(frame(3, []byte{0, 1, 1, 'x'}, wire.AppendString(nil, string(make([]byte, 4096))), []byte{0})), want: wire.SessionProtocolViolation},
		{name: "2.4.1 2^64-1 fields", peer: request(frame(6, []byte{0}, huge)), want: wire.SessionProtocolViolation},
		{name: "10.2 unknown parameter", peer: request(frame(3, []byte{0, 1, 1, 'x', 1, 'y', 1, 0x7a, 0})), want: wire.SessionProtocolViolation},
		{name: "10.2 parameter of another message", peer: request(frame(6, []byte{0, 1, 1, 'x', 1, 0x10, 1})), want: wire.SessionProtocolViolation},
		{name: "10.2.12 FORWARD 2", peer: request(frame(3, []byte{0, 1, 1, 'x', 1, 'y', 1, 0x10, 2})), want: wire.SessionProtocolViolation},
		{name: "10.2 2^64-1 parameters", peer: request(frame(3, []byte{0, 1, 1, 'x', 1, 'y'}, huge)), want: wire.SessionProtocolViolation},
		{name: "10.2.2 token that cannot be decoded", peer: request(frame(3, []byte{0, 1, 1, 'x', 1, 'y', 1, 3, 1, 9})), want: wire.SessionKeyValueFormattingError},
		{name: "10.2.2 more tokens registered than the cache takes", peer: request(wire.Subscribe{Track: video, Params: wire.Params{
			Tokens: []wire.Token{
				{AliasType: wire.TokenRegister, Alias: 1, Value: make([]byte, 8<<10)},
				{AliasType: wire.TokenRegister, Alias: 2, Value: make([]byte, 8<<10)},
			},
		}}), want: wire.SessionAuthTokenCacheOverflow},
		{name: "5.1.2 unknown filter", peer: request(frame(3, []byte{0, 1, 1, 'x', 1, 'y', 1, 0x21, 1, 9})), want: wire.SessionProtocolViolation},

		// GOAWAY (section 10.4).
		{name: "10.4 second GOAWAY", peer: control(wire.Goaway{RequestID: new(uint64(1))}, wire.Goaway{RequestID: new(uint64(1))}), want: wire.SessionProtocolViolation},
		{name: "10.4 URI from a client", peer: control(wire.Goaway{NewSessionURI: "moqt://b", RequestID: new(uint64(1))}), want: wire.SessionProtocolViolation},
		{name: "10.4 request ID of the wrong parity", peer: control(wire.Goaway{RequestID: new(uint64(2))}), want: wire.SessionInvalidRequestID},
		{name: "10.4 URI of 8193 bytes", client: client, peer: control(wire.Goaway{NewSessionURI: string(make([]byte, 8193)), RequestID: new(uint64(0))}), want: wire.SessionProtocolViolation},
		{name: "10.4 truncated", peer: control(frame(0x10, []byte{5, 'm'})), want: wire.SessionProtocolViolation},
		{name: "10.4 second GOAWAY on a request stream", peer: request(wire.PublishNamespace{Namespace: cam}, wire.Goaway{}, wire.Goaway{}), want: wire.SessionProtocolViolation},
	} {
		t.Run(tt.name, func(t *testing.T) {
			script(t, tt.client, tt.link, moqt.Config{Handler: handler{}}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
				tt.peer(p)
				p.ExpectClose(tt.want)
				<-s.Done()
			})
		})
	}
}

func repeat(b []byte, n int) []byte {
	var out []byte
	for range n {
		out = append(out, b...)
	}
	return out
}

// TestOpen is about what a session has to live with.
func TestOpen(t *testing.T) {
	for _, tt := range []struct {
		name string
		peer func(p *moqttest.Peer, control *moqttest.PeerStream)
	}{
		{"11.5.1 padding stream", func(p *moqttest.Peer, _ *moqttest.PeerStream) {
			p.OpenUni(wire.AppendPaddingStream(nil, 100_000)).Close()
		}},
		{"11.5.2 padding datagram", func(p *moqttest.Peer, _ *moqttest.PeerStream) {
			p.Open(wire.Publish{Track: video, TrackAlias: 4}) // from here on datagrams are read
			p.Conn.SendDatagram(wire.AppendPaddingDatagram(nil, 100))
		}},
		{"11.3 object datagram", func(p *moqttest.Peer, _ *moqttest.PeerStream) {
			p.Open(wire.Publish{Track: video, TrackAlias: 4})
			p.Conn.SendDatagram(wire.Datagram{Alias: 5, Payload: []byte("x")}.Append(nil))
		}},
		{"3.4 unidirectional stream that brings nothing", func(p *moqttest.Peer, _ *moqttest.PeerStream) {
			p.OpenUni().Close()
		}},
		{"3.3.2 request stream that is reset at once", func(p *moqttest.Peer, _ *moqttest.PeerStream) {
			p.Open([]byte{3}).Reset(wire.ResetCancelled)
		}},
		{"3.3 request stream that ends at once", func(p *moqttest.Peer, _ *moqttest.PeerStream) {
			s := p.Open()
			s.Close()
			s.ExpectReset(wire.ResetCancelled)
		}},
		{"10.1 IDs in any order, some never", func(p *moqttest.Peer, _ *moqttest.PeerStream) {
			for _, id := range []uint64{6, 2, 100, 0} {
				s := p.Open(wire.PublishNamespace{RequestID: id, Namespace: cam})
				s.Expect(wire.RequestOK{})
				s.Reset(wire.ResetCancelled)
			}
		}},
		{"10.12 FETCH_HEADER of no FETCH", func(p *moqttest.Peer, _ *moqttest.PeerStream) {
			p.OpenUni([]byte{5, 1}).ExpectStop(wire.ResetCancelled)
		}},
		{"3.6 GOAWAY", func(_ *moqttest.Peer, control *moqttest.PeerStream) {
			control.Send(wire.Goaway{RequestID: new(uint64(1))})
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			script(t, false, moqttest.Config{}, moqt.Config{Handler: handler{}}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
				control, _ := p.Setup(wire.Setup{})
				tt.peer(p, control)
				time.Sleep(time.Minute) // virtual: past every timeout
				p.ExpectOpen()
				p.Open(wire.PublishNamespace{RequestID: 8, Namespace: cam}).Expect(wire.RequestOK{})
			})
		})
	}
}

// TestRefused is about requests that are answered with REQUEST_ERROR and FIN.
func TestRefused(t *testing.T) {
	at := func(fields ...string) track.Namespace { return track.MustNamespace(fields...) }
	unknownAlias := wire.Params{Tokens: []wire.Token{{AliasType: wire.TokenUseAlias, Alias: 7}}}
	for _, tt := range []struct {
		name    string
		request wire.Request
		want    wire.RequestCode
	}{
		{"3.2.1 SUBSCRIBE in .", wire.Subscribe{Track: track.Name{Namespace: at(".", "x"), Name: "y"}}, wire.RequestDoesNotExist},
		{"3.2.1 PUBLISH in .", wire.Publish{Track: track.Name{Namespace: at("."), Name: "y"}}, wire.RequestDoesNotExist},
		{"3.2.1 PUBLISH_NAMESPACE of .", wire.PublishNamespace{Namespace: at(".")}, wire.RequestDoesNotExist},
		{"3.2.1 SUBSCRIBE_NAMESPACE of .", wire.SubscribeNamespace{Prefix: at(".")}, wire.RequestDoesNotExist},
		{"3.2.2 SUBSCRIBE in .session", wire.Subscribe{Track: track.Name{Namespace: at(".session"), Name: "y"}}, wire.RequestDoesNotExist},
		{"3.2.2 empty name in .session", wire.Subscribe{Track: track.Name{Namespace: at(".session")}}, wire.RequestDoesNotExist},
		{"3.2.2 PUBLISH_NAMESPACE of .session", wire.PublishNamespace{Namespace: at(".session", "a")}, wire.RequestDoesNotExist},
		{"3.2.1 any other reserved namespace goes to the handler", wire.Subscribe{Track: track.Name{Namespace: at(".x"), Name: "y"}}, wire.RequestNotSupported},
		{"10.12 FETCH", wire.Fetch{FetchType: wire.FetchStandalone, Track: video, End: wire.Location{Group: 1}}, wire.RequestNotSupported},
		{"10.14 TRACK_STATUS", wire.TrackStatus{Track: video}, wire.RequestNotSupported},
		{"10.19 SUBSCRIBE_TRACKS", wire.SubscribeTracks{Prefix: cam}, wire.RequestNotSupported},
		{"10.2.2 unknown token alias", wire.Subscribe{Track: video, Params: unknownAlias}, wire.RequestMalformedAuthToken},
		{"2.5.1 PUBLISH with a mandatory property", wire.Publish{
			Track: video, Properties: wire.NewProperties(wire.KeyValue{Type: 0x4000}),
		}, wire.RequestUnsupportedExtension},
		{"a handler's answer", wire.Subscribe{Track: video}, wire.RequestNotSupported},
	} {
		t.Run(tt.name, func(t *testing.T) {
			script(t, false, moqttest.Config{}, moqt.Config{Handler: handler{}}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
				p.Setup(wire.Setup{})
				st := p.Open(tt.request)
				st.ExpectError(tt.want, tt.request.Type())
				// What the requester leaves open is stopped in the end.
				st.ExpectStop(wire.ResetCancelled)
				p.ExpectOpen()
			})
		})
	}
}

func TestWithoutHandler(t *testing.T) {
	for _, tt := range []struct {
		name    string
		request wire.Request
	}{
		{"SUBSCRIBE", sub(0)},
		{"PUBLISH", wire.Publish{Track: video}},
		{"PUBLISH_NAMESPACE", wire.PublishNamespace{Namespace: cam}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			script(t, false, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, _ *moqt.Session) {
				p.Setup(wire.Setup{})
				p.Open(tt.request).ExpectError(wire.RequestNotSupported, tt.request.Type())
			})
		})
	}
}

// expectSetup reads a SETUP with these options, the default token cache, and
// grease.
func expectSetup(t *testing.T, st *moqttest.PeerStream, want wire.Setup) {
	t.Helper()
	_, body := st.Message()
	got, err := wire.ParseSetup(body)
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range got.Other {
		if !wire.IsGrease(kv.Type) {
			t.Errorf("SETUP has option %#x", kv.Type)
		}
	}
	if len(got.Other) == 0 {
		t.Error("14: SETUP has no grease")
	}
	got.Other = nil
	want.MaxAuthTokenCacheSize = 16 << 10
	if !reflect.DeepEqual(got, want) {
		t.Errorf("read SETUP %+v, want %+v", got, want)
	}
}

// TestSetup is about section 10.3.
func TestSetup(t *testing.T) {
	t.Run("a raw QUIC client sends AUTHORITY and PATH", func(t *testing.T) {
		cfg := moqt.Config{Authority: "a.example:4443", Path: "/live?t=1", Implementation: "broadcastd/1"}
		script(t, true, moqttest.Config{}, cfg, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			expectSetup(t, p.AcceptUni(), wire.Setup{Authority: &cfg.Authority, Path: &cfg.Path, Implementation: cfg.Implementation})
		})
	})
	t.Run("a WebTransport client does not", func(t *testing.T) {
		cfg := moqt.Config{Authority: "a.example:4443", Path: "/live?t=1"}
		script(t, true, moqttest.Config{Transport: moqt.WebTransport}, cfg, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			expectSetup(t, p.AcceptUni(), wire.Setup{Implementation: "broadcastd"})
		})
	})
	t.Run("unknown options are ignored, also repeated", func(t *testing.T) {
		unknown := []wire.KeyValue{
			{Type: 0x9d, Bytes: []byte("a")},
			{Type: 0x9d, Bytes: []byte("b")},
			{Type: 0x40b55, Bytes: make([]byte, 8)},
			{Type: 0x40b5a, Uint: 1},
		}
		script(t, false, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{Path: new("/x?y"), Authority: new("b"), Implementation: "peer/2", Other: unknown})
			<-s.Ready()
			got := s.PeerSetup()
			if got.Implementation != "peer/2" || got.Path != "/x?y" || got.Authority != "b" || !got.Solicit {
				t.Errorf("PeerSetup() = %+v", got)
			}
			p.ExpectOpen()
		})
	})
	t.Run("requests and objects that come first wait for it", func(t *testing.T) {
		asked := make(chan *moqt.PublishRequest, 1)
		cfg := moqt.Config{Handler: handler{publish: func(r *moqt.PublishRequest) {
			r.Accept()
			asked <- r
		}}}
		script(t, false, moqttest.Config{}, cfg, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.OpenUni(wire.SubgroupHeader{Alias: 9, DefaultPriority: true, EndOfGroup: true, FirstObject: true}, []byte{0, 2, 'h', 'i'}).Close()
			req := p.Open(wire.Publish{Track: video, TrackAlias: 9})
			time.Sleep(time.Second)
			select {
			case <-asked:
				t.Error("request taken before SETUP")
			default:
			}
			p.Setup(wire.Setup{})
			req.Expect(wire.RequestOK{})
			g, err := (<-asked).Track().NewReader(track.CurrentGroup).NextGroup(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if o, err := g.Next(t.Context()); err != nil || string(o.Payload) != "hi" {
				t.Errorf("Next() = %q, %v", o.Payload, err)
			}
		})
	})
	t.Run("the peer grants no stream", func(t *testing.T) {
		script(t, false, moqttest.Config{UniStreams: -1}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.ExpectClose(wire.SessionControlMessageTimeout)
		})
	})
}
