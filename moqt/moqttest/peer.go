package moqttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// patience is how long a Peer waits for what it expects. In a synctest bubble
// it is over as soon as nothing else can happen.
const patience = 30 * time.Second

// A Peer plays one end of a session by script: it writes exact bytes and
// expects exact messages. Its methods fail the test at once, so they are for
// the test's goroutine.
type Peer struct {
	t    testing.TB
	Conn moqt.Conn
}

// NewPeer scripts conn.
func NewPeer(t testing.TB, conn moqt.Conn) *Peer { return &Peer{t: t, Conn: conn} }

// A PeerStream is a stream of a Peer. On a unidirectional one only half of the
// methods work.
type PeerStream struct {
	t    testing.TB
	send moqt.SendStream
	recv moqt.ReceiveStream
	buf  []byte
	fin  bool // the stream has ended, behind buf
}

// Bytes returns what parts are on the wire, one after the other: []byte as it
// is, a wire.Message framed, a wire.SubgroupHeader, a uint64 as a varint.
func Bytes(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case []byte:
			b = append(b, p...)
		case string:
			b = append(b, p...)
		case uint64:
			b = wire.AppendVarint(b, p)
		case wire.Message:
			var err error
			if b, err = wire.AppendMessage(b, p); err != nil {
				panic(err)
			}
		case wire.SubgroupHeader:
			b = p.Append(b)
		default:
			panic(fmt.Sprintf("moqttest: cannot send a %T", p))
		}
	}
	return b
}

// Setup opens the peer's control stream with m, and takes the session's.
func (p *Peer) Setup(m wire.Setup) (control, session *PeerStream) {
	p.t.Helper()
	control = p.OpenUni(m)
	session = p.AcceptUni()
	if got := session.Type(); got != wire.TypeSetup {
		p.t.Fatalf("first stream of the session begins with %v, want SETUP", got)
	}
	return control, session
}

// Open opens a request stream and sends parts on it.
func (p *Peer) Open(parts ...any) *PeerStream {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	st, err := p.Conn.OpenStream(ctx)
	if err != nil {
		p.t.Fatalf("open a stream: %v", err)
	}
	s := &PeerStream{t: p.t, send: st, recv: st}
	s.Send(parts...)
	return s
}

// OpenUni opens a unidirectional stream and sends parts on it.
func (p *Peer) OpenUni(parts ...any) *PeerStream {
	p.t.Helper()
	st, err := p.Conn.OpenUniStream()
	if err != nil {
		p.t.Fatalf("open a unidirectional stream: %v", err)
	}
	s := &PeerStream{t: p.t, send: st}
	s.Send(parts...)
	return s
}

// Accept takes the next request stream of the session.
func (p *Peer) Accept() *PeerStream {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	st, err := p.Conn.AcceptStream(ctx)
	if err != nil {
		p.t.Fatalf("accept a stream: %v", err)
	}
	return &PeerStream{t: p.t, send: st, recv: st}
}

// AcceptUni takes the next unidirectional stream of the session.
func (p *Peer) AcceptUni() *PeerStream {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	st, err := p.Conn.AcceptUniStream(ctx)
	if err != nil {
		p.t.Fatalf("accept a unidirectional stream: %v", err)
	}
	return &PeerStream{t: p.t, recv: st}
}

// ExpectClose waits for the session to close the connection.
func (p *Peer) ExpectClose(code wire.SessionCode) {
	p.t.Helper()
	select {
	case <-p.Conn.Context().Done():
	case <-time.After(patience):
		p.t.Fatalf("session is open after %v, want it closed with %v", patience, code)
	}
	se, ok := errors.AsType[*moqt.SessionError](context.Cause(p.Conn.Context()))
	if !ok || se.Code != code || !se.Remote {
		p.t.Fatalf("session closed: %v, want %v from the session", context.Cause(p.Conn.Context()), code)
	}
}

// ExpectOpen checks that the session has not closed the connection.
func (p *Peer) ExpectOpen() {
	p.t.Helper()
	if err := context.Cause(p.Conn.Context()); err != nil {
		p.t.Fatalf("session closed: %v, want it open", err)
	}
}

// Send writes parts, as Bytes has them.
func (s *PeerStream) Send(parts ...any) {
	s.t.Helper()
	b := Bytes(parts...)
	if len(b) == 0 {
		return
	}
	_ = s.send.SetWriteDeadline(time.Now().Add(patience))
	if _, err := s.send.Write(b); err != nil {
		s.t.Fatalf("send %x: %v", b, err)
	}
}

// Close sends FIN.
func (s *PeerStream) Close() { _ = s.send.Close() }

// Reset resets the sending half.
func (s *PeerStream) Reset(code wire.ResetCode) { s.send.CancelWrite(code) }

// Stop sends STOP_SENDING.
func (s *PeerStream) Stop(code wire.ResetCode) { s.recv.CancelRead(code) }

// more reads on, and returns what ended the stream, if it has.
func (s *PeerStream) more() error {
	if s.fin {
		return io.EOF
	}
	buf := make([]byte, 4<<10)
	_ = s.recv.SetReadDeadline(time.Now().Add(patience))
	n, err := s.recv.Read(buf)
	s.buf = append(s.buf, buf[:n]...)
	if n > 0 && errors.Is(err, io.EOF) {
		s.fin = true
		return nil
	}
	return err
}

// Expect reads exactly parts, as Bytes has them.
func (s *PeerStream) Expect(parts ...any) {
	s.t.Helper()
	want := Bytes(parts...)
	for len(s.buf) < len(want) && bytes.HasPrefix(want, s.buf) {
		if err := s.more(); err != nil {
			s.t.Fatalf("read %x, then %v, want %x: %+v", s.buf, err, want, parts)
		}
	}
	if !bytes.HasPrefix(s.buf, want) {
		s.t.Fatalf("read %x, want %x: %+v", s.buf, want, parts)
	}
	s.buf = s.buf[len(want):]
}

// ReadAll reads to the end of the stream. The error is nil after FIN.
func (s *PeerStream) ReadAll() ([]byte, error) {
	for {
		if err := s.more(); err != nil {
			b := s.buf
			s.buf = nil
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return b, err
		}
	}
}

// Pending reports whether something can be read without waiting.
func (s *PeerStream) Pending() bool {
	if len(s.buf) > 0 {
		return true
	}
	_ = s.recv.SetReadDeadline(time.Unix(1, 0))
	buf := make([]byte, 4<<10)
	n, err := s.recv.Read(buf)
	s.buf = append(s.buf, buf[:n]...)
	return n > 0 || err != nil && !errors.Is(err, errDeadline)
}

// Message reads one message and returns its type and body.
func (s *PeerStream) Message() (wire.MessageType, []byte) {
	s.t.Helper()
	for {
		t, body, n, err := wire.ParseFrame(s.buf)
		if err == nil {
			s.buf = s.buf[n:]
			return t, body
		}
		if err := s.more(); err != nil {
			s.t.Fatalf("read %x, then %v, want a message", s.buf, err)
		}
	}
}

// Type reads one message and returns its type.
func (s *PeerStream) Type() wire.MessageType {
	s.t.Helper()
	t, _ := s.Message()
	return t
}

// ExpectError reads a REQUEST_ERROR with this code, in answer to a message of
// type request, and FIN.
func (s *PeerStream) ExpectError(code wire.RequestCode, request wire.MessageType) {
	s.t.Helper()
	t, body := s.Message()
	m, err := wire.ParseRequestError(body, request)
	if t != wire.TypeRequestError || err != nil || m.Code != code {
		s.t.Fatalf("read %v %+v, %v, want REQUEST_ERROR %v", t, m, err, code)
	}
	s.ExpectFIN()
}

// ExpectFIN reads the clean end of the stream.
func (s *PeerStream) ExpectFIN() {
	s.t.Helper()
	if err := s.more(); !errors.Is(err, io.EOF) || len(s.buf) > 0 {
		s.t.Fatalf("read %x, then %v, want FIN", s.buf, err)
	}
}

// ExpectReset reads to the reset of the stream.
func (s *PeerStream) ExpectReset(code wire.ResetCode) {
	s.t.Helper()
	for {
		err := s.more()
		if err == nil {
			continue
		}
		if se, ok := errors.AsType[*moqt.StreamError](err); !ok || !se.Remote || se.Code != code {
			s.t.Fatalf("stream ended with %v, want a reset with %v", err, code)
		}
		return
	}
}

// Stopped waits for STOP_SENDING and returns its code.
func (s *PeerStream) Stopped() wire.ResetCode {
	s.t.Helper()
	select {
	case <-s.send.Context().Done():
	case <-time.After(patience):
		s.t.Fatalf("no STOP_SENDING within %v", patience)
	}
	se, ok := errors.AsType[*moqt.StreamError](context.Cause(s.send.Context()))
	if !ok || !se.Remote {
		s.t.Fatalf("stream ended with %v, want STOP_SENDING", context.Cause(s.send.Context()))
	}
	return se.Code
}

// ExpectStop waits for STOP_SENDING with this code.
func (s *PeerStream) ExpectStop(code wire.ResetCode) {
	s.t.Helper()
	if got := s.Stopped(); got != code {
		s.t.Fatalf("stream stopped with %v, want %v", got, code)
	}
}

// StopPending reports whether STOP_SENDING has come.
func (s *PeerStream) StopPending() bool { return s.send.Context().Err() != nil }
