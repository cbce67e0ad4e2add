package auth

import (
	"strings"
	"testing"
	"time"
)

// What one token costs: seen for the first time, and again.
func BenchmarkToken(b *testing.B) {
	for _, alg := range []Algorithm{Ed25519, RS256} {
		book := newBook()
		book.sign("k", "", alg)
		g := openGate(b, Config{Directory: book})
		token := book.token(b, "k", nil)
		b.Run("alg="+string(alg)+"/cached=no", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				g.tokens = tokenCache{}
				grant, err := g.check(token, attempt{remote: far.Addr()})
				if err != nil {
					b.Fatal(err)
				}
				grant.Close()
			}
		})
		b.Run("alg="+string(alg)+"/cached=yes", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				grant, err := g.check(token, attempt{remote: far.Addr()})
				if err != nil {
					b.Fatal(err)
				}
				grant.Close()
			}
		})
	}
}

// What a guess costs us: it is refused before it is looked at, once there were
// too many.
func BenchmarkGuess(b *testing.B) {
	book := newBook()
	book.sign("k", "", Ed25519)
	g := openGate(b, Config{Directory: book})
	token := book.token(b, "k", nil)
	token = token[:strings.LastIndexByte(token, '.')+1] + strings.Repeat("A", 86)
	for b.Loop() {
		if _, err := g.check(token, attempt{remote: far.Addr()}); err == nil {
			b.Fatal("it was taken")
		}
	}
}

func BenchmarkStreamKey(b *testing.B) {
	book := newBook()
	sk, _ := book.key("", "stream", "local", "cam")
	g := openGate(b, Config{Directory: book})
	for b.Loop() {
		grant, err := g.check(sk, attempt{remote: far.Addr()})
		if err != nil {
			b.Fatal(err)
		}
		grant.Close()
	}
}

// What a session decides about one request.
func BenchmarkRequest(b *testing.B) {
	book := newBook()
	book.sign("k", "", Ed25519)
	g := openGate(b, Config{Directory: book, Loopback: Loopback{Enabled: true}, Now: time.Now})
	for name, path := range map[string]string{"token": "/?tok=" + book.token(b, "k", nil), "anonymous": "/"} {
		p, err := g.Session("127.0.0.1:5", path, nil)
		if err != nil {
			b.Fatal(err)
		}
		defer p.Close()
		b.Run("by="+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Play([]string{"stream", "local", "cam"}, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
