package auth

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

func FuzzToken(f *testing.F) {
	g, b := keyed(f)
	token := b.token(f, "ed", nil)
	for _, s := range []string{
		token, b.token(f, "rs", nil), "e30.e30.", "..", token[:len(token)-4], token + "=", "." + token,
		b.raw(f, "ed", map[string]any{"alg": "none"}, good(nil)), b.raw(f, "ed", nil, good(map[string]any{"exp": 1e300})),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, err := verify(s, g.heldKey)
		if err != nil {
			if _, ok := errors.AsType[*CredentialError](err); !ok && !errors.Is(err, errNotNow) {
				t.Fatalf("error %v is no refusal", err)
			}
			return
		}
		head, _, _ := strings.Cut(s, ".")
		if !strings.HasPrefix(token, head) && v.key.ID != "rs" {
			t.Fatalf("granted %q", s)
		}
		if v.Expires == 0 || len(v.patterns) == 0 || v.Subject == "" {
			t.Fatalf("took %+v", v.Claims)
		}
	})
}

func FuzzStreamKey(f *testing.F) {
	cleartext, _, _ := NewStreamKey()
	for _, s := range []string{cleartext, "sk_live_a_b", "sk_live_a_b_c", "sk_live__b", "sk_live_a_", "sk_live_", "sk_live_é_b", strings.Repeat("a", 300)} {
		f.Add(s)
	}
	g := openGate(f, Config{Directory: newBook()})
	f.Fuzz(func(t *testing.T, s string) {
		id, secret, ok := ParseStreamKey(s)
		if ok && (streamKeyPrefix+id+"_"+secret != s || id == "" || secret == "") {
			t.Fatalf("%q parses to %q and %q", s, id, secret)
		}
		if _, err := g.look(s, time.Now(), attempt{}); CodeOf(err) != CodeUnknown && CodeOf(err) != CodeMalformed {
			t.Fatalf("%q: %v", s, err)
		}
	})
}

func FuzzPattern(f *testing.F) {
	for _, s := range []string{"stream/local/cam", "stream/local/*", "*", "playback/cam", "publish/*", "a//b", "/", "", "*/a", "stream/local/cam/../x", "%2f"} {
		f.Add(s, "stream/local/cam")
	}
	f.Fuzz(func(t *testing.T, s, name string) {
		p, ok := parsePattern(s, "local")
		if !ok {
			return
		}
		again, ok := parsePattern(p.String(), "local")
		if !ok || again.open != p.open || !slices.Equal(again.fields, p.fields) {
			t.Fatalf("%q -> %+v -> %q -> %+v", s, p, p, again)
		}
		namespace := strings.Split(name, "/")
		if p.covers(namespace) {
			// Byte by byte: what it covers begins with its fields.
			if head := strings.TrimSuffix(p.String(), "*"); !strings.HasPrefix(name, head) || !p.open && name != head {
				t.Fatalf("%q covers %q", p, name)
			}
			for n := range namespace { // and a watcher above hears of it
				if !p.under(namespace[:n]) {
					t.Fatalf("%q covers %q and nothing under %q", p, name, namespace[:n])
				}
			}
		}
	})
}

func FuzzForwarded(f *testing.F) {
	f.Add(`for="[2001:db8::1]:80";proto=https, for=10.0.0.1`, "1.2.3.4, 10.0.0.1")
	f.Add(`for=_x;;=,;"`, ",,,")
	trusted := Proxies{netip.MustParsePrefix("10.0.0.0/8")}
	peer := netip.MustParseAddr("10.0.0.1")
	f.Fuzz(func(t *testing.T, forwarded, xff string) {
		r := request1(netip.AddrPortFrom(peer, 5), "/", "")
		r.Header["Forwarded"], r.Header["X-Forwarded-For"] = []string{forwarded}, []string{xff}
		client, _ := trusted.client(r, peer)
		if !client.IsValid() || client != peer && !strings.Contains(forwarded+xff, ".") && !strings.Contains(forwarded+xff, ":") {
			t.Fatalf("the client is %v", client)
		}
	})
}
