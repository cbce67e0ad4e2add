package conformance_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// keeper allows what is asked with the token "good", and says why not.
type keeper struct{}

func (keeper) Admit(relay.Credentials) (relay.Permit, error) { return keeper{}, nil }

func (keeper) Authorize(r relay.AuthRequest) (wire.Namespace, error) {
	for _, tok := range r.Tokens {
		switch string(tok.Value) {
		case "good":
			return r.Namespace, nil
		case "old":
			return wire.Namespace{}, &track.RequestError{Code: wire.RequestExpiredAuthToken}
		case "odd":
			return wire.Namespace{}, &track.RequestError{Code: wire.RequestMalformedAuthToken}
		}
	}
	return wire.Namespace{}, errUnauthorized
}

func (keeper) Visible(wire.Namespace) bool { return true }
func (keeper) Context() context.Context    { return context.Background() }
func (keeper) Close()                      {}

// TestTokens is about authorization tokens by alias (section 10.2.2): what who
// authorizes gets to see of them.
func TestTokens(t *testing.T) {
	register := func(value string) wire.Token {
		return wire.Token{AliasType: wire.TokenRegister, Alias: 1, Value: []byte(value)}
	}
	use := wire.Token{AliasType: wire.TokenUseAlias, Alias: 1}
	retire := wire.Token{AliasType: wire.TokenDelete, Alias: 1}
	byValue := func(value string) wire.Token {
		return wire.Token{AliasType: wire.TokenUseValue, Value: []byte(value)}
	}
	// Each step is one SUBSCRIBE with tokens to a track that nobody has; when it
	// is allowed, it is refused with DOES_NOT_EXIST.
	type step struct {
		tokens []wire.Token
		want   wire.RequestCode
	}
	const allowed = wire.RequestDoesNotExist
	for _, tt := range []struct {
		name   string
		steps  []step
		closes wire.SessionCode // behind the steps, when last is sent
		last   wire.Token
	}{
		{name: "10.2.2_registered", steps: []step{
			{[]wire.Token{register("good")}, allowed}, {[]wire.Token{use}, allowed}, {[]wire.Token{use}, allowed}, {nil, wire.RequestUnauthorized},
		}},
		{name: "10.2.2_deleted", steps: []step{
			{[]wire.Token{register("good")}, allowed}, {[]wire.Token{retire}, wire.RequestUnauthorized}, {[]wire.Token{use}, wire.RequestMalformedAuthToken},
		}},
		{name: "10.2.2_registered_by_a_refused_request", steps: []step{
			{[]wire.Token{register("bad")}, wire.RequestUnauthorized},
			{[]wire.Token{use}, wire.RequestUnauthorized},
			{[]wire.Token{retire, byValue("good")}, allowed},
			{[]wire.Token{register("good")}, allowed},
		}},
		{name: "10.2.2_expired", steps: []step{
			{[]wire.Token{register("old")}, wire.RequestExpiredAuthToken}, {[]wire.Token{use}, wire.RequestExpiredAuthToken},
		}, closes: wire.SessionDuplicateAuthTokenAlias, last: register("good")},
		{name: "10.2.2_malformed", steps: []step{{[]wire.Token{byValue("odd")}, wire.RequestMalformedAuthToken}}},
		{
			name: "10.2.2_registered_twice", steps: []step{{[]wire.Token{register("good")}, allowed}},
			closes: wire.SessionDuplicateAuthTokenAlias, last: register("good"),
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			run(t, relay.Config{Authorizer: keeper{}}, func(t *testing.T, n *net) {
				p := n.peer()
				for i, s := range tt.steps {
					m := message[wire.RequestError](t, p.subscribe(video, wire.Params{Tokens: s.tokens}), wire.TypeSubscribe)
					if m.Code != s.want {
						t.Errorf("step %d is answered with %v, want %v", i, m.Code, s.want)
					}
				}
				if tt.closes == 0 {
					synctest.Wait()
					p.ExpectOpen()
					return
				}
				p.subscribe(video, wire.Params{Tokens: []wire.Token{tt.last}})
				p.ExpectClose(tt.closes)
			})
		})
	}
	t.Run("10.2.2_cache_overflows", func(t *testing.T) {
		run(t, relay.Config{Authorizer: keeper{}}, func(t *testing.T, n *net) {
			p := n.peer()
			for alias := uint64(1); alias <= 5; alias++ { // the cache holds four of this size
				tok := wire.Token{AliasType: wire.TokenRegister, Alias: alias, Value: make([]byte, 4000)}
				p.subscribe(video, wire.Params{Tokens: []wire.Token{tok}})
			}
			p.ExpectClose(wire.SessionAuthTokenCacheOverflow)
		})
	})
}
