package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/quic-go/webtransport-go"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// Our WebTransport against an independent one, which asks for flow control that
// we do not grant, in both roles.

var libraryConfig = &webtransport.Config{MaxIncomingStreams: 10, MaxIncomingUniStreams: 10, MaxIncomingData: 1 << 20}

// libraryClient connects webtransport-go to e.
func libraryClient(t *testing.T, e *env, tokens ...string) (*http.Response, *webtransport.Session, error) {
	t.Helper()
	tr := &webtransport.Transport{
		TLSClientConfig:      &tls.Config{InsecureSkipVerify: true},
		QUICConfig:           quicConfig(),
		Config:               libraryConfig,
		ApplicationProtocols: tokens,
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	return tr.Dial(ctx, "https://"+e.addr+"/live?token=x", nil)
}

// libraryServer runs webtransport-go's server and returns its address.
func libraryServer(t *testing.T, cfg *webtransport.Config, tokens ...string) (string, <-chan *webtransport.Session) {
	t.Helper()
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	srv := &webtransport.Server{
		H3: &http3.Server{TLSConfig: http3.ConfigureTLSConfig(&tls.Config{
			Certificates: []tls.Certificate{newCert(t, time.Now().Add(time.Hour))},
		})},
		Config:               cfg,
		ApplicationProtocols: tokens,
		CheckOrigin:          func(*http.Request) bool { return true },
	}
	sessions := make(chan *webtransport.Session, 8)
	srv.H3.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sess, err := srv.Upgrade(w, r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		sessions <- sess
	})
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(pc)
	}()
	t.Cleanup(func() {
		srv.Close()
		<-served
		pc.Close()
	})
	return pc.LocalAddr().String(), sessions
}

func TestLibraryClient(t *testing.T) {
	e := start(t, Config{})
	rsp, sess, err := libraryClient(t, e, "moqt-17", "moqt-18")
	if err != nil {
		t.Fatal(err)
	}
	if got := rsp.Header.Get("WT-Protocol"); got != `"moqt-18"` {
		t.Errorf("WT-Protocol = %s, want \"moqt-18\"", got)
	}
	conn := e.accepted()
	if got := conn.Info().Path; got != "/live?token=x" {
		t.Errorf("Path = %q", got)
	}
	exchange(t, conn, sess)
	for range 3 * libraryConfig.MaxIncomingUniStreams { // more than it would allow with flow control
		sendUni(t, conn, sess, make([]byte, 100<<10))
	}
	conn.CloseWithError(wire.SessionUnauthorized, "expired")
	<-sess.Context().Done()
	_, err = sess.AcceptStream(context.Background())
	if se, ok := errors.AsType[*webtransport.SessionError](err); !ok || se.ErrorCode != 2 || se.Message != "expired" || !se.Remote {
		t.Errorf("the client saw %v, want code 2, expired", err)
	}
}

func TestLibraryClientCloses(t *testing.T) {
	e := start(t, Config{})
	_, sess, err := libraryClient(t, e, "moqt-18")
	if err != nil {
		t.Fatal(err)
	}
	conn := e.accepted()
	sess.CloseWithError(0x10, "gone")
	<-conn.Context().Done()
	// The library closes the connection right behind the capsule, which then may
	// not be read any more.
	se, ok := errors.AsType[*moqt.SessionError](context.Cause(conn.Context()))
	if !ok || !se.Remote || se.Code != 0x10 && se.Code != 0 {
		t.Errorf("ended with %v, want the client's close", se)
	}
}

func TestLibraryServer(t *testing.T) {
	addr, sessions := libraryServer(t, libraryConfig, "moqt-18")
	conn, err := Dial(t.Context(), "https://"+addr+"/live", DialConfig{Insecure: true, Protocols: []string{"moqt-18", "moqt-22"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := conn.Info().Protocol; got != "moqt-18" {
		t.Errorf("Protocol = %q", got)
	}
	sess := <-sessions
	exchange(t, conn, sess)
	sess.CloseWithError(webtransport.SessionErrorCode(wire.SessionGoawayTimeout), "late")
	checkClosed(t, conn, wire.SessionGoawayTimeout, "late", true)
}

// TestNoEcho meets servers that accept a session without choosing a version.
func TestNoEcho(t *testing.T) {
	addr, _ := libraryServer(t, libraryConfig) // speaks no protocol, says nothing
	_, err := Dial(t.Context(), "https://"+addr+"/?token=secret", DialConfig{Insecure: true})
	if !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "WT-Protocol") || strings.Contains(err.Error(), "secret") {
		t.Errorf("one offer: %v, want ErrRefused for the missing WT-Protocol", err)
	}
	conn, err := Dial(t.Context(), "https://"+addr+"/", DialConfig{Insecure: true, Protocols: []string{"moqt-22", "moqt-18"}})
	if err != nil {
		t.Fatalf("two offers, then one at a time: %v", err)
	}
	if got := conn.Info().Protocol; got != "moqt-22" {
		t.Errorf("Protocol = %q, want the preferred one", got)
	}
	conn.CloseWithError(0, "")
}

// exchange sends streams of every kind, resets and datagrams between our end and
// the library's.
func exchange(t *testing.T, ours moqt.Conn, theirs *webtransport.Session) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	sendUni(t, ours, theirs, []byte("hello"))

	out, err := theirs.OpenUniStreamSync(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	in, err := ours.AcceptUniStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(in, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	out.CancelWrite(0x9d)
	_, err = in.Read(make([]byte, 1))
	checkStreamError(t, "Read", err, 0x9d, true)

	req, err := ours.OpenStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := req.Write([]byte("request")); err != nil {
		t.Fatal(err)
	}
	req.Close()
	answer, err := theirs.AcceptStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(answer); err != nil || string(got) != "request" {
		t.Errorf("request = %q, %v", got, err)
	}
	answer.CancelWrite(0x1e)
	_, err = req.Read(make([]byte, 1))
	checkStreamError(t, "Read", err, 0x1e, true)

	bidi, err := theirs.OpenStreamSync(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := bidi.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	got, err := ours.AcceptStream(ctx)
	if err != nil {
		t.Fatal(err)
	}
	got.CancelRead(0x1f)
	<-bidi.Context().Done()
	_, err = bidi.Write([]byte("y"))
	if se, ok := errors.AsType[*webtransport.StreamError](err); !ok || se.ErrorCode != 0x1f || !se.Remote {
		t.Errorf("the library saw %v, want stream error 0x1f", err)
	}
	got.Close()

	if err := theirs.SendDatagram([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	if b, err := ours.ReceiveDatagram(ctx); err != nil || string(b) != "ping" {
		t.Errorf("datagram = %q, %v", b, err)
	}
	if err := ours.SendDatagram([]byte("pong")); err != nil {
		t.Fatal(err)
	}
	if b, err := theirs.ReceiveDatagram(ctx); err != nil || string(b) != "pong" {
		t.Errorf("datagram = %q, %v", b, err)
	}
}

func sendUni(t *testing.T, ours moqt.Conn, theirs *webtransport.Session, data []byte) {
	t.Helper()
	str := mustOpen(t, ours)
	if err := str.TryWrite(data); err != nil {
		t.Fatal(err)
	}
	str.Close()
	in, err := theirs.AcceptUniStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(in); err != nil || len(got) != len(data) {
		t.Fatalf("read %d bytes, %v, want %d", len(got), err, len(data))
	}
}

// TestEarlyStreams sends streams ahead of the request for their session, some of
// a session that never comes.
func TestEarlyStreams(t *testing.T) {
	e := start(t, Config{})
	qc, err := quic.DialAddr(t.Context(), e.addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h3"}}, quicConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer qc.CloseWithError(0, "")
	c := newLink(qc, h3Codec{}, moqt.ConnInfo{})
	open := func(header ...byte) *sendStream {
		str, err := qc.OpenUniStream()
		if err != nil {
			t.Fatal(err)
		}
		s := newSendStream(c, str, header)
		if _, err := s.Write([]byte("early")); err != nil {
			t.Fatal(err)
		}
		return s
	}
	early := open(0x40, 0x54, 0) // the session on stream 0
	stray := open(0x40, 0x54, 8) // another
	target, err := parseTarget("https://" + e.addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := connect(t.Context(), qc, target, Protocols(), false); err != nil {
		t.Fatal(err)
	}
	conn := e.accepted()
	in, err := conn.AcceptUniStream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	early.Close()
	if got, err := io.ReadAll(in); err != nil || string(got) != "early" {
		t.Errorf("the early stream carried %q, %v", got, err)
	}
	<-stray.str.Context().Done()
	if se, ok := errors.AsType[*quic.StreamError](context.Cause(stray.str.Context())); !ok || se.ErrorCode != wtBufferedStreamRejected {
		t.Errorf("the stray stream ended with %v, want WT_BUFFERED_STREAM_REJECTED", context.Cause(stray.str.Context()))
	}
	open(0x40, 0x54, 3) // not the ID of any request stream
	<-qc.Context().Done()
	if ae, ok := errors.AsType[*quic.ApplicationError](context.Cause(qc.Context())); !ok || ae.ErrorCode != quic.ApplicationErrorCode(http3.ErrCodeIDError) {
		t.Errorf("the connection ended with %v, want H3_ID_ERROR", context.Cause(qc.Context()))
	}
}
