package moqt_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

func register(alias uint64, value string) wire.Token {
	return wire.Token{AliasType: wire.TokenRegister, Alias: alias, Type: 1, Value: []byte(value)}
}

func useAlias(alias uint64) wire.Token {
	return wire.Token{AliasType: wire.TokenUseAlias, Alias: alias}
}

func deleteAlias(alias uint64) wire.Token {
	return wire.Token{AliasType: wire.TokenDelete, Alias: alias}
}

func byValue(value string) wire.Token {
	return wire.Token{AliasType: wire.TokenUseValue, Type: 1, Value: []byte(value)}
}

// values are what a handler is to see.
func values(t *testing.T, tokens []wire.Token) []string {
	t.Helper()
	var out []string
	for _, tok := range tokens {
		if tok.AliasType != wire.TokenUseValue || tok.Alias != 0 || tok.Type != 1 {
			t.Errorf("the handler sees %+v, want a token by value of type 1", tok)
		}
		out = append(out, string(tok.Value))
	}
	return out
}

// TestTokens is about section 10.2.2. Each step is a SUBSCRIBE_NAMESPACE with
// tokens.
func TestTokens(t *testing.T) {
	const cache = 100 // a token of four bytes takes 20
	type step struct {
		tokens []wire.Token
		see    []string         // by the handler
		refuse wire.RequestCode // instead
		close  wire.SessionCode // instead
	}
	long := string(bytes.Repeat([]byte("x"), 65))
	for _, tt := range []struct {
		name  string
		setup []wire.Token
		limit int // 0: cache
		steps []step
	}{
		{name: "10.2.2 by value", steps: []step{
			{tokens: []wire.Token{byValue("one"), byValue("two")}, see: []string{"one", "two"}},
		}},
		{name: "10.2.2 registered and used", steps: []step{
			{tokens: []wire.Token{register(7, "one")}, see: []string{"one"}},
			{tokens: []wire.Token{useAlias(7)}, see: []string{"one"}},
			{tokens: []wire.Token{byValue("x"), useAlias(7)}, see: []string{"x", "one"}},
		}},
		{name: "10.2.2 used in the message that registers", steps: []step{
			{tokens: []wire.Token{register(7, "one"), deleteAlias(7), register(7, "two")}, see: []string{"one", "two"}},
			{tokens: []wire.Token{useAlias(7)}, see: []string{"two"}},
		}},
		{name: "10.2.2 registered in SETUP", setup: []wire.Token{register(1, "one")}, steps: []step{
			{tokens: []wire.Token{useAlias(1)}, see: []string{"one"}},
		}},
		{name: "10.3.1.4 too much in SETUP counts as by value", setup: []wire.Token{register(1, "12345"), register(2, long[:64])}, steps: []step{
			{tokens: []wire.Token{useAlias(1)}, see: []string{"12345"}},
			{tokens: []wire.Token{useAlias(2)}, refuse: wire.RequestMalformedAuthToken},
		}},
		{name: "10.2.2 deleted", steps: []step{
			{tokens: []wire.Token{register(7, "one")}, see: []string{"one"}},
			{tokens: []wire.Token{deleteAlias(7)}},
			{tokens: []wire.Token{useAlias(7)}, refuse: wire.RequestMalformedAuthToken},
			{tokens: []wire.Token{deleteAlias(7)}, refuse: wire.RequestMalformedAuthToken},
			{tokens: []wire.Token{register(7, "two")}, see: []string{"two"}},
		}},
		{name: "10.2.2 registered although the message is refused", steps: []step{
			{tokens: []wire.Token{useAlias(9), register(7, "one")}, refuse: wire.RequestMalformedAuthToken},
			{tokens: []wire.Token{useAlias(7)}, see: []string{"one"}},
			{tokens: []wire.Token{useAlias(9), deleteAlias(7)}, refuse: wire.RequestMalformedAuthToken},
			{tokens: []wire.Token{useAlias(7)}, refuse: wire.RequestMalformedAuthToken},
		}},
		{name: "10.2.2 the same twice", steps: []step{
			{tokens: []wire.Token{byValue("one"), byValue("one")}, refuse: wire.RequestMalformedAuthToken},
			{tokens: []wire.Token{register(1, "one"), useAlias(1)}, refuse: wire.RequestMalformedAuthToken},
		}},
		{name: "10.2.2 too large a token", limit: 100, steps: []step{
			{tokens: []wire.Token{byValue(long)}, refuse: wire.RequestMalformedAuthToken},
			{tokens: []wire.Token{register(1, long)}, refuse: wire.RequestMalformedAuthToken},
			{tokens: []wire.Token{useAlias(1)}, refuse: wire.RequestMalformedAuthToken},
		}},
		{name: "10.2.2 an alias twice", steps: []step{
			{tokens: []wire.Token{register(7, "one")}, see: []string{"one"}},
			{tokens: []wire.Token{register(7, "one")}, close: wire.SessionDuplicateAuthTokenAlias},
		}},
		{name: "10.3.1.3 the cache is full", steps: []step{
			{tokens: []wire.Token{register(1, "1234"), register(2, "12345"), register(3, "123456"), register(4, "1234567")}, see: []string{"1234", "12345", "123456", "1234567"}},
			{tokens: []wire.Token{register(5, "")}, close: wire.SessionAuthTokenCacheOverflow},
		}},
		{name: "10.3.1.3 and has room again", steps: []step{
			{tokens: []wire.Token{register(1, "1234"), register(2, "12345"), register(3, "123456"), register(4, "1234567")}, see: []string{"1234", "12345", "123456", "1234567"}},
			{tokens: []wire.Token{deleteAlias(4), register(5, "12"), deleteAlias(5), register(6, "34")}, see: []string{"12", "34"}},
		}},
		{name: "10.3.1.3 aliases that are not allowed", limit: -1, steps: []step{
			{tokens: []wire.Token{register(1, "")}, close: wire.SessionAuthTokenCacheOverflow},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var seen [][]string
			cfg := moqt.Config{Limits: moqt.Limits{TokenCache: cache, Token: 64}, Handler: handler{
				subscribeNamespace: func(r *moqt.SubscribeNamespaceRequest) {
					seen = append(seen, values(t, r.Params.Tokens))
					r.Reject(wire.RequestUninterested, "")
				},
			}}
			if tt.limit != 0 {
				cfg.Limits.TokenCache = tt.limit
			}
			script(t, false, moqttest.Config{}, cfg, func(t *testing.T, p *moqttest.Peer, _ *moqt.Session) {
				p.Setup(wire.Setup{Tokens: tt.setup})
				for i, s := range tt.steps {
					seen = nil
					st := p.Open(wire.SubscribeNamespace{RequestID: 2 * uint64(i), Prefix: ns(fmt.Sprint(i)), Params: wire.Params{Tokens: s.tokens}})
					switch {
					case s.close != 0:
						p.ExpectClose(s.close)
						return
					case s.refuse != 0:
						st.ExpectError(s.refuse, wire.TypeSubscribeNamespace)
					default:
						st.ExpectError(wire.RequestUninterested, wire.TypeSubscribeNamespace)
						if len(seen) != 1 || !slices.Equal(seen[0], s.see) {
							t.Errorf("step %d: the handler sees %q, want %q", i, seen, s.see)
						}
					}
				}
				p.ExpectOpen()
			})
		})
	}
}

func TestTokensOfEachRequest(t *testing.T) {
	for _, tt := range []struct {
		name string
		msg  func(id uint64, p wire.Params) wire.Message
	}{
		{"10.2.2 SUBSCRIBE", func(id uint64, p wire.Params) wire.Message {
			return wire.Subscribe{RequestID: id, Track: video, Params: p}
		}},
		{"10.2.2 PUBLISH", func(id uint64, p wire.Params) wire.Message {
			return wire.Publish{RequestID: id, Track: video, TrackAlias: 1, Params: p}
		}},
		{"10.2.2 FETCH", func(id uint64, p wire.Params) wire.Message {
			return wire.Fetch{RequestID: id, FetchType: wire.FetchStandalone, Track: video, End: wire.Location{Group: 1}, Params: p}
		}},
		{"10.2.2 TRACK_STATUS", func(id uint64, p wire.Params) wire.Message {
			return wire.TrackStatus{RequestID: id, Track: video, Params: p}
		}},
		{"10.2.2 PUBLISH_NAMESPACE", func(id uint64, p wire.Params) wire.Message {
			return wire.PublishNamespace{RequestID: id, Namespace: cam, Params: p}
		}},
		{"10.2.2 SUBSCRIBE_NAMESPACE", func(id uint64, p wire.Params) wire.Message {
			return wire.SubscribeNamespace{RequestID: id, Params: p}
		}},
		{"10.2.2 SUBSCRIBE_TRACKS", func(id uint64, p wire.Params) wire.Message {
			return wire.SubscribeTracks{RequestID: id, Params: p}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			see := func(p wire.Params, reject func(wire.RequestCode, string)) {
				got = append(got, values(t, p.Tokens)...)
				reject(wire.RequestExpiredAuthToken, "")
			}
			cfg := moqt.Config{Handler: handler{
				subscribe:          func(r *moqt.SubscribeRequest) { see(r.Params, r.Reject) },
				publish:            func(r *moqt.PublishRequest) { see(r.Params, r.Reject) },
				fetch:              func(r *moqt.FetchRequest) { see(r.Params, r.Reject) },
				trackStatus:        func(r *moqt.TrackStatusRequest) { see(r.Params, r.Reject) },
				publishNamespace:   func(r *moqt.PublishNamespaceRequest) { see(r.Params, r.Reject) },
				subscribeNamespace: func(r *moqt.SubscribeNamespaceRequest) { see(r.Params, r.Reject) },
				subscribeTracks:    func(r *moqt.SubscribeTracksRequest) { see(r.Params, r.Reject) },
			}}
			script(t, false, moqttest.Config{}, cfg, func(t *testing.T, p *moqttest.Peer, _ *moqt.Session) {
				p.Setup(wire.Setup{})
				for i, tok := range []wire.Token{register(3, "one"), useAlias(3)} {
					m := tt.msg(2*uint64(i), wire.Params{Tokens: []wire.Token{tok}})
					p.Open(m).ExpectError(wire.RequestExpiredAuthToken, m.Type())
				}
				if !slices.Equal(got, []string{"one", "one"}) {
					t.Errorf("the handler sees %q, want the token twice", got)
				}
			})
		})
	}
	t.Run("10.2.2 REQUEST_UPDATE", func(t *testing.T) {
		handled(t, false, func(t *testing.T, p *moqttest.Peer, got *requests) {
			st := p.Open(sub(0))
			synctest.Wait()
			var seen []string
			got.sub.OnUpdate(func(p wire.Params) error { seen = append(seen, values(t, p.Tokens)...); return nil })
			got.sub.Accept(newTrack())
			st.Message()
			st.Send(wire.RequestUpdate{RequestID: 2, Params: wire.Params{Tokens: []wire.Token{register(1, "one")}}})
			st.Send(wire.RequestUpdate{RequestID: 4, Params: wire.Params{Tokens: []wire.Token{useAlias(1)}}})
			st.Expect(wire.RequestOK{}, wire.RequestOK{})
			if !slices.Equal(seen, []string{"one", "one"}) {
				t.Errorf("the handler sees %q, want the token twice", seen)
			}
			st.Send(wire.RequestUpdate{RequestID: 6, Params: wire.Params{Tokens: []wire.Token{useAlias(2)}}})
			st.Expect(wire.RequestError{Code: wire.RequestMalformedAuthToken, Reason: "unknown token alias"})
			if typ := st.Type(); typ != wire.TypePublishDone {
				t.Errorf("read %v, want PUBLISH_DONE", typ)
			}
		})
	})
}

// TestSetupTokens is about what cannot be refused without the session.
func TestSetupTokens(t *testing.T) {
	for _, tt := range []struct {
		name   string
		client bool // the session is one
		tokens []wire.Token
		want   wire.SessionCode
	}{
		{name: "10.2.2 DELETE to a server", tokens: []wire.Token{deleteAlias(1)}, want: wire.SessionProtocolViolation},
		{name: "10.2.2 USE_ALIAS to a server", tokens: []wire.Token{register(1, "x"), useAlias(1)}, want: wire.SessionProtocolViolation},
		{name: "10.2.2 unknown alias to a client", client: true, tokens: []wire.Token{useAlias(1)}, want: wire.SessionUnknownAuthTokenAlias},
		{name: "10.2.2 the same twice", tokens: []wire.Token{byValue("x"), byValue("x")}, want: wire.SessionMalformedAuthToken},
		{name: "10.2.2 an alias twice", tokens: []wire.Token{register(1, "x"), register(1, "y")}, want: wire.SessionDuplicateAuthTokenAlias},
		{name: "10.2.2 too large a token", tokens: []wire.Token{byValue(string(make([]byte, 4097)))}, want: wire.SessionMalformedAuthToken},
	} {
		t.Run(tt.name, func(t *testing.T) {
			script(t, tt.client, moqttest.Config{}, moqt.Config{}, func(_ *testing.T, p *moqttest.Peer, _ *moqt.Session) {
				p.OpenUni(wire.Setup{Tokens: tt.tokens})
				p.ExpectClose(tt.want)
			})
		})
	}
	t.Run("10.3.1 what we send", func(t *testing.T) {
		cfg := moqt.Config{Tokens: []track.Token{{Type: 1, Value: []byte("one")}, {Type: 1, Value: []byte("one")}}, Limits: moqt.Limits{TokenCache: 1000}}
		script(t, true, moqttest.Config{}, cfg, func(t *testing.T, p *moqttest.Peer, _ *moqt.Session) {
			typ, body := p.AcceptUni().Message()
			m, err := wire.ParseSetup(body)
			if typ != wire.TypeSetup || err != nil || m.MaxAuthTokenCacheSize != 1000 || !slices.Equal(values(t, m.Tokens), []string{"one"}) {
				t.Errorf("read %v %+v, %v", typ, m, err)
			}
		})
	})
	t.Run("10.3.1.4 more than a message takes", func(t *testing.T) {
		cc, _ := moqttest.Pair(moqttest.Config{})
		if _, err := moqt.NewSession(cc, moqt.Config{Tokens: []track.Token{{Value: make([]byte, 1<<16)}}}); err == nil {
			t.Error("NewSession takes tokens that no SETUP holds")
		}
	})
	t.Run("10.3.1.4 seen by the application", func(t *testing.T) {
		script(t, false, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
			p.Setup(wire.Setup{Tokens: []wire.Token{register(1, "one"), byValue("two")}})
			select {
			case <-s.Ready():
			case <-time.After(time.Second):
				t.Fatal("not ready")
			}
			if got := values(t, s.PeerSetup().Tokens); !slices.Equal(got, []string{"one", "two"}) {
				t.Errorf("PeerSetup has %q, want one and two", got)
			}
		})
	})
}

// TestTokenIsNotSaid: an error of the session must not show a token (I15).
func TestTokenIsNotSaid(t *testing.T) {
	script(t, false, moqttest.Config{}, moqt.Config{}, func(t *testing.T, p *moqttest.Peer, s *moqt.Session) {
		p.Setup(wire.Setup{Tokens: []wire.Token{register(1, "a secret")}})
		p.Open(wire.Subscribe{Track: video, Params: wire.Params{Tokens: []wire.Token{register(1, "a secret")}}})
		<-s.Done()
		err := s.Goaway("", 0)
		if se, ok := errors.AsType[*moqt.SessionError](err); !ok || bytes.Contains([]byte(se.Error()), []byte("secret")) {
			t.Errorf("the session ended with %v", err)
		}
	})
}
