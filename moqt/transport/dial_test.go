package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
)

func TestParseTarget(t *testing.T) {
	for _, tt := range []struct {
		name, url string
		want      target
		fails     bool
	}{
		{"QUIC", "moqt://relay.example/live?token=x", target{
			scheme: "moqt", host: "relay.example", port: 443,
			authority: "relay.example", path: "/live", query: "token=x",
		}, false},
		{"alias and port", "moq://relay.example:4443", target{
			scheme: "moq", host: "relay.example", port: 4443,
			authority: "relay.example:4443",
		}, false},
		{"WebTransport", "https://[::1]:4443?a=b", target{
			webTransport: true, scheme: "https", host: "::1", port: 4443,
			authority: "[::1]:4443", path: "/", query: "a=b",
		}, false},
		{"escapes stay", "https://h/a%2Fb?c=%20", target{
			webTransport: true, scheme: "https", host: "h", port: 443,
			authority: "h", path: "/a%2Fb", query: "c=%20",
		}, false},
		{"fragment is local", "moqt://h/p#type:value", target{scheme: "moqt", host: "h", port: 443, authority: "h", path: "/p"}, false},
		{"scheme", "http://h/?token=secret", target{}, true},
		{"host", "moqt:///?token=secret", target{}, true},
		{"port", "moqt://h:0/?token=secret", target{}, true},
		{"user", "moqt://user:secret@h/?token=secret", target{}, true},
		{"malformed", "moqt://h:x/?token=secret", target{}, true},
		{"control character", "moqt://h/\x7f?token=secret", target{}, true},
	} {
		t.Run(strings.ReplaceAll(tt.name, " ", "_"), func(t *testing.T) {
			got, err := parseTarget(tt.url)
			if (err != nil) != tt.fails || !tt.fails && got != tt.want {
				t.Errorf("parseTarget(%q) = %+v, %v, want %+v", tt.url, got, err, tt.want)
			}
			_, err = Dial(t.Context(), tt.url, DialConfig{CertSHA256: [][]byte{{1}}})
			if err == nil || strings.Contains(err.Error(), "secret") {
				t.Errorf("Dial(%q): %v, want an error without the secret", tt.url, err)
			}
		})
	}
}

func TestSetupOptions(t *testing.T) {
	for _, tt := range []struct{ url, authority, path string }{
		{"moqt://relay.example:4443/live?token=x", "relay.example:4443", "/live?token=x"},
		{"moqt://relay.example", "relay.example", ""},
		{"https://relay.example/live?token=x", "", ""},
	} {
		authority, path, err := SetupOptions(tt.url)
		if err != nil || authority != tt.authority || path != tt.path {
			t.Errorf("SetupOptions(%q) = %q, %q, %v, want %q, %q", tt.url, authority, path, err, tt.authority, tt.path)
		}
	}
}

func TestCertificates(t *testing.T) {
	e := start(t, Config{})
	expired := newCert(t, time.Now().Add(-time.Hour))
	old := start(t, Config{TLS: &tls.Config{Certificates: []tls.Certificate{expired}}})
	old.cert = expired
	wrong := make([]byte, 32)
	for _, tt := range []struct {
		name string
		e    *env
		cfg  DialConfig
		ok   bool
	}{
		{"pin", e, DialConfig{CertSHA256: [][]byte{e.pin()}}, true},
		{"second pin", e, DialConfig{CertSHA256: [][]byte{wrong, e.pin()}}, true},
		{"wrong pin", e, DialConfig{CertSHA256: [][]byte{wrong}}, false},
		{"wrong pin, insecure", e, DialConfig{CertSHA256: [][]byte{wrong}, Insecure: true}, false},
		{"expired", old, DialConfig{CertSHA256: [][]byte{old.pin()}}, false},
		{"expired, insecure", old, DialConfig{Insecure: true}, true},
		{"system roots", e, DialConfig{}, false},
	} {
		for _, scheme := range []string{"moqt", "https"} {
			t.Run(strings.ReplaceAll(tt.name, " ", "_")+"/"+scheme, func(t *testing.T) {
				c, err := Dial(t.Context(), scheme+"://"+tt.e.addr+"/?token=secret", tt.cfg)
				if err == nil {
					c.CloseWithError(0, "")
				}
				if tt.ok && err != nil || !tt.ok && !errors.Is(err, ErrUntrusted) {
					t.Errorf("Dial: %v, want success %t, else ErrUntrusted", err, tt.ok)
				}
			})
		}
	}
}

func TestUnreachable(t *testing.T) {
	silent, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, scheme := range []string{"moqt", "https"} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		_, err := Dial(ctx, scheme+"://"+silent.LocalAddr().String()+"/?token=secret", DialConfig{})
		cancel()
		if !errors.Is(err, ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "secret") {
			t.Errorf("Dial %s: %v, want ErrUnreachable, context.DeadlineExceeded", scheme, err)
		}
		_, err = Dial(t.Context(), scheme+"://name.invalid/?token=secret", DialConfig{})
		if !errors.Is(err, ErrUnreachable) || strings.Contains(err.Error(), "secret") {
			t.Errorf("Dial %s: %v, want ErrUnreachable", scheme, err)
		}
	}
}

// TestRace dials an address that is silent and then the one that answers.
func TestRace(t *testing.T) {
	silent, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	e := start(t, Config{})
	var addrs []netip.AddrPort
	for _, a := range []string{silent.LocalAddr().String(), e.addr, e.addr} {
		addrs = append(addrs, netip.MustParseAddrPort(a))
	}
	target, err := parseTarget("moqt://localhost")
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	qc, err := dialQUIC(t.Context(), addrs, target, DialConfig{Insecure: true}, Protocols())
	if err != nil {
		t.Fatal(err)
	}
	if d := time.Since(began); d < attemptDelay || d > 2*time.Second {
		t.Errorf("connected after %v, want a little over %v", d, attemptDelay)
	}
	if qc.RemoteAddr().String() != e.addr {
		t.Errorf("connected to %v, want %v", qc.RemoteAddr(), e.addr)
	}
	qc.CloseWithError(0, "")

	errFirst := errors.New("first")
	_, err = race(t.Context(), addrs, func(_ context.Context, a netip.AddrPort) (*quic.Conn, error) {
		if a == addrs[0] {
			return nil, errFirst
		}
		return nil, errors.New("other")
	})
	if err != errFirst {
		t.Errorf("race where all fail: %v, want the first error", err)
	}
}
