package transport

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/dunglas/httpsfv"
)

// The header fields of WebTransport's subprotocol negotiation, a list of strings
// and a string in the sense of RFC 9651.
const (
	availableProtocols = "Wt-Available-Protocols"
	chosenProtocol     = "Wt-Protocol"
)

// maxOffered is how many offered tokens are looked at.
const maxOffered = 64

// offeredTokens returns the tokens in a request's WT-Available-Protocols, in the
// client's order. A field that is malformed is as good as none, as RFC 9651
// section 4.2 has it.
func offeredTokens(h http.Header) []string {
	list, err := httpsfv.UnmarshalList(h[availableProtocols])
	if err != nil {
		return nil
	}
	var tokens []string
	for _, member := range list[:min(len(list), maxOffered)] {
		item, ok := member.(httpsfv.Item)
		if !ok {
			return nil
		}
		token, ok := item.Value.(string)
		if !ok {
			return nil
		}
		tokens = append(tokens, token)
	}
	return tokens
}

// chooseToken returns the first of ours that is among theirs: the server's
// preference counts, as it does in ALPN.
func chooseToken(ours, theirs []string) (string, bool) {
	for _, t := range ours {
		if slices.Contains(theirs, t) {
			return t, true
		}
	}
	return "", false
}

// setOffered puts tokens into a request's header.
func setOffered(h http.Header, tokens []string) error {
	list := make(httpsfv.List, len(tokens))
	for i, t := range tokens {
		list[i] = httpsfv.NewItem(t)
	}
	v, err := httpsfv.Marshal(list)
	if err != nil {
		return fmt.Errorf("transport: %s: %w", availableProtocols, err)
	}
	h.Set(availableProtocols, v)
	return nil
}

// setChosen puts the chosen token into a response's header.
func setChosen(h http.Header, token string) error {
	v, err := httpsfv.Marshal(httpsfv.NewItem(token))
	if err != nil {
		return fmt.Errorf("transport: %s: %w", chosenProtocol, err)
	}
	h.Set(chosenProtocol, v)
	return nil
}

var errNoEcho = errors.New("the server did not say which version it chose (WT-Protocol)")

// chosenToken returns the token in a response's WT-Protocol, which must be one
// of offered. Without the field the error is errNoEcho.
func chosenToken(h http.Header, offered []string) (string, error) {
	values, ok := h[chosenProtocol]
	if !ok {
		return "", errNoEcho
	}
	item, err := httpsfv.UnmarshalItem(values)
	if err != nil {
		return "", fmt.Errorf("malformed WT-Protocol: %w", err)
	}
	token, ok := item.Value.(string)
	if !ok || !slices.Contains(offered, token) {
		return "", fmt.Errorf("the server chose %v, which was not offered (%s)", item.Value, quoted(offered))
	}
	return token, nil
}

// quoted lists tokens for people, whatever a peer put into them.
func quoted(tokens []string) string {
	if len(tokens) == 0 {
		return "nothing"
	}
	const most = 16
	var b strings.Builder
	for i, t := range tokens[:min(len(tokens), most)] {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%.64q", t)
	}
	if len(tokens) > most {
		b.WriteString(", …")
	}
	return b.String()
}
