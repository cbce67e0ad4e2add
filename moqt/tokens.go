package moqt

import (
	"bytes"
	"slices"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A tokenCache has the tokens that the peer has registered (section 10.2.2).
// Their aliases are the peer's own; ours are apart from them.
type tokenCache struct {
	max     uint64 // MAX_AUTH_TOKEN_CACHE_SIZE, bytes
	largest int    // bytes that the value of a token may have
	size    uint64
	tokens  map[uint64]wire.Token
}

// resolve puts what aliases stand for in their place and leaves out what only
// retires one, so that what it returns is all by value. Every token is looked
// at: a REGISTER counts also if its message is refused. err ends the session;
// refusal, unless nil, is what to refuse the message with.
func (tc *tokenCache) resolve(tokens []wire.Token, setup bool) (out []wire.Token, refusal *RequestError, err error) {
	refuse := func(reason string) {
		if refusal == nil {
			refusal = &RequestError{Code: wire.RequestMalformedAuthToken, Reason: reason}
		}
	}
	for _, t := range tokens {
		switch t.AliasType {
		case wire.TokenRegister:
			if err := tc.register(t, setup); err != nil {
				return nil, nil, err
			}
		case wire.TokenUseAlias, wire.TokenDelete:
			known, ok := tc.tokens[t.Alias]
			if !ok {
				// The draft has a code for this only for sessions, and closing one
				// for a request would be out of proportion.
				refuse(unknownAlias)
				continue
			}
			if t.AliasType == wire.TokenDelete {
				tc.size -= known.Size()
				delete(tc.tokens, t.Alias)
				continue
			}
			t = known
		}
		t = wire.Token{AliasType: wire.TokenUseValue, Type: t.Type, Value: t.Value}
		same := func(o wire.Token) bool { return o.Type == t.Type && bytes.Equal(o.Value, t.Value) }
		switch {
		case len(t.Value) > tc.largest:
			refuse("the token is too large")
		case slices.ContainsFunc(out, same):
			refuse("the same token twice")
		default:
			out = append(out, t)
		}
	}
	return out, refusal, nil
}

// register remembers a token. In SETUP one that is too much counts as shown by
// value, because the peer could not know the limit (section 10.3.1.4).
func (tc *tokenCache) register(t wire.Token, setup bool) error {
	if _, taken := tc.tokens[t.Alias]; taken {
		return closing(wire.SessionDuplicateAuthTokenAlias, "token alias %d is registered already", t.Alias)
	}
	if tc.size+t.Size() > tc.max {
		if setup {
			return nil
		}
		return closing(wire.SessionAuthTokenCacheOverflow, "%d bytes of tokens, at most %d", tc.size+t.Size(), tc.max)
	}
	if tc.tokens == nil {
		tc.tokens = make(map[uint64]wire.Token)
	}
	tc.size += t.Size()
	tc.tokens[t.Alias] = t
	return nil
}

// setupTokens resolves the tokens of SETUP. There is no request to refuse, so
// what is wrong with one ends the session.
func (c *core) setupTokens(tokens []wire.Token) ([]wire.Token, error) {
	for _, t := range tokens {
		if !c.info.Client && (t.AliasType == wire.TokenDelete || t.AliasType == wire.TokenUseAlias) {
			return nil, violation("SETUP refers to a token alias")
		}
	}
	out, refusal, err := c.tokens.resolve(tokens, true)
	switch {
	case err != nil:
		return nil, err
	case refusal != nil && refusal.Reason == unknownAlias:
		return nil, closing(wire.SessionUnknownAuthTokenAlias, "SETUP: %s", refusal.Reason)
	case refusal != nil:
		return nil, closing(wire.SessionMalformedAuthToken, "SETUP: %s", refusal.Reason)
	}
	return out, nil
}

const unknownAlias = "unknown token alias"

// withTokens returns m with other tokens.
func withTokens(m wire.Request, tokens []wire.Token) wire.Request {
	switch m := m.(type) {
	case wire.Subscribe:
		m.Params.Tokens = tokens
		return m
	case wire.Publish:
		m.Params.Tokens = tokens
		return m
	case wire.Fetch:
		m.Params.Tokens = tokens
		return m
	case wire.TrackStatus:
		m.Params.Tokens = tokens
		return m
	case wire.PublishNamespace:
		m.Params.Tokens = tokens
		return m
	case wire.SubscribeNamespace:
		m.Params.Tokens = tokens
		return m
	case wire.SubscribeTracks:
		m.Params.Tokens = tokens
		return m
	}
	return m
}
