package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

func TestRefuses(t *testing.T) {
	for _, tt := range []struct {
		name    string
		cfg     Config
		url     string
		offer   []string
		status  int
		message string // must be in the error
	}{
		{
			"no token in common, WebTransport",
			Config{},
			"https://%s/x?token=secret",
			[]string{"moqt-17", "moq-lite-04"},
			406,
			`WT-Available-Protocols offers "moqt-17", "moq-lite-04", this server supports "moqt-18"`,
		},
		{"no token in common, QUIC", Config{}, "moqt://%s/x?token=secret", []string{"moqt-17"}, 0, `["moqt-17"]`},
		{"origin", Config{CheckOrigin: func(*http.Request) bool { return false }}, "https://%s/?token=secret", nil, 403, "origin"},
		{"full", Config{MaxConns: 1}, "moqt://%s", nil, 0, "CONNECTION_REFUSED"},
	} {
		t.Run(strings.ReplaceAll(tt.name, " ", "_"), func(t *testing.T) {
			e := start(t, tt.cfg)
			if tt.cfg.MaxConns > 0 {
				e.dial("moqt", "")
			}
			_, err := Dial(t.Context(), fmt.Sprintf(tt.url, e.addr), DialConfig{Insecure: true, Protocols: tt.offer})
			de, ok := errors.AsType[*DialError](err)
			if !ok || !errors.Is(err, ErrRefused) || de.Status != tt.status {
				t.Fatalf("Dial: %v, want ErrRefused with status %d", err, tt.status)
			}
			// The body is quoted, so the quotes in it are escaped.
			if got := strings.ReplaceAll(err.Error(), `\"`, `"`); !strings.Contains(got, tt.message) {
				t.Errorf("Dial: %v, want a mention of %s", err, tt.message)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("Dial: %v, which holds the query", err)
			}
		})
	}
}

func TestMaxConnsCountsEnds(t *testing.T) {
	e := start(t, Config{MaxConns: 2})
	for range 5 {
		c, _ := e.dial("moqt", "")
		w, _ := e.dial("https", "/")
		if got := e.srv.Conns(); got != 2 {
			t.Fatalf("Conns() = %d, want 2", got)
		}
		c.CloseWithError(0, "")
		w.CloseWithError(0, "")
		waitFor(t, func() bool { return e.srv.Conns() == 0 })
	}
	if n := e.srv.handshaking.Load(); n != 0 {
		t.Errorf("%d handshakes are counted as under way", n)
	}
}

// TestRetry connects while many handshakes are under way, as in a flood.
func TestRetry(t *testing.T) {
	e := start(t, Config{})
	e.srv.handshaking.Store(maxUnverified)
	if e.srv.suspicious(nil) {
		t.Errorf("asks for a Retry at %d handshakes", maxUnverified)
	}
	e.srv.handshaking.Store(maxUnverified + 1)
	if !e.srv.suspicious(nil) {
		t.Errorf("asks for no Retry above %d handshakes", maxUnverified)
	}
	c, _ := e.dial("moqt", "")
	c.CloseWithError(0, "")
}

func TestNeedsDatagrams(t *testing.T) {
	e := start(t, Config{})
	cfg := quicConfig()
	cfg.EnableDatagrams = false
	qc, err := quic.DialAddr(t.Context(), e.addr, &tls.Config{InsecureSkipVerify: true, NextProtos: Protocols()}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	checkClosed(t, newQUICConn(qc, true), wire.SessionProtocolViolation, "QUIC datagrams are required (section 3.1)", true)
}

// TestServerPrefers offers the server's tokens in the opposite order.
func TestServerPrefers(t *testing.T) {
	e := start(t, Config{Protocols: []string{"moqt-22", "moqt-18"}})
	for _, scheme := range []string{"moqt", "https"} {
		c, err := Dial(t.Context(), scheme+"://"+e.addr, DialConfig{Insecure: true, Protocols: []string{"moqt-16", "moqt-18", "moqt-22"}})
		if err != nil {
			t.Fatal(err)
		}
		if got, server := c.Info().Protocol, e.accepted().Info().Protocol; got != "moqt-22" || server != "moqt-22" {
			t.Errorf("%s: chose %q, the server %q, want moqt-22", scheme, got, server)
		}
		c.CloseWithError(0, "")
	}
}

func TestHTTP(t *testing.T) {
	e := start(t, Config{HTTP: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s", r.Method, r.URL.Path)
	})})
	tr := &http3.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer tr.Close()
	rsp, err := (&http.Client{Transport: tr}).Get("https://" + e.addr + "/hello")
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	if body, err := io.ReadAll(rsp.Body); err != nil || string(body) != "GET /hello" {
		t.Errorf("GET /hello = %q, %v", body, err)
	}
}

func TestHTTPWithoutHandler(t *testing.T) {
	e := start(t, Config{})
	tr := &http3.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer tr.Close()
	rsp, err := (&http.Client{Transport: tr}).Get("https://" + e.addr + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer rsp.Body.Close()
	if rsp.StatusCode != http.StatusNotFound {
		t.Errorf("status %d, want 404", rsp.StatusCode)
	}
}

// TestOneSession asks for a second session on a connection that has one.
func TestOneSession(t *testing.T) {
	e := start(t, Config{})
	qc, err := quic.DialAddr(t.Context(), e.addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h3"}}, quicConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer qc.CloseWithError(0, "")
	raw := (&http3.Transport{EnableDatagrams: true}).NewRawClientConn(qc)
	go newDemux(qc, raw.HandleUnidirectionalStream, raw.HandleBidirectionalStream).run()
	<-raw.ReceivedSettings()
	target, err := parseTarget("https://" + e.addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{http.StatusOK, http.StatusTooManyRequests} {
		req, err := connectRequest(target, Protocols(), raw.Settings())
		if err != nil {
			t.Fatal(err)
		}
		str, err := raw.OpenRequestStream(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := str.SendRequestHeader(req); err != nil {
			t.Fatal(err)
		}
		rsp, err := str.ReadResponse()
		if err != nil || rsp.StatusCode != want {
			t.Fatalf("CONNECT was answered with %v, %v, want %d", rsp, err, want)
		}
	}
}

// TestHandleReturns checks that a Handle which just returns leaves nothing open.
func TestHandleReturns(t *testing.T) {
	e := start(t, Config{Handle: func(context.Context, moqt.Conn) {}})
	for _, scheme := range []string{"moqt", "https"} {
		c, err := Dial(t.Context(), scheme+"://"+e.addr, DialConfig{Insecure: true})
		if err != nil {
			t.Fatal(err)
		}
		checkClosed(t, c, wire.SessionNoError, "", true)
	}
}

// TestServeEnds ends Serve while connections of all kinds are open.
func TestServeEnds(t *testing.T) {
	var raw, wt moqt.Conn
	var idle *quic.Conn
	t.Run("serving", func(t *testing.T) {
		e := start(t, Config{})
		var err error
		if raw, err = Dial(t.Context(), "moqt://"+e.addr, DialConfig{Insecure: true}); err != nil {
			t.Fatal(err)
		}
		if wt, err = Dial(t.Context(), "https://"+e.addr, DialConfig{Insecure: true}); err != nil {
			t.Fatal(err)
		}
		e.accepted()
		e.accepted()
		c, err := quic.DialAddr(t.Context(), e.addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h3"}}, quicConfig())
		if err != nil {
			t.Fatal(err)
		}
		idle = c
	})
	select {
	case <-idle.Context().Done():
	case <-time.After(10 * time.Second):
		t.Error("a connection without a session stays open")
	}
	checkClosed(t, raw, wire.SessionNoError, "", true)
	checkClosed(t, wt, wire.SessionNoError, "", true)
}

func TestConfigFaults(t *testing.T) {
	_, err := NewServer(Config{Protocols: []string{"", "h3", "moqt-18"}})
	if err == nil {
		t.Fatal("NewServer took an empty Config")
	}
	for _, want := range []string{"Config.TLS", "Config.Handle", `""`, `"h3"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("NewServer: %v, want a mention of %s", err, want)
		}
	}
}
