package main

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// A sniffer accepts TLS and plain HTTP on one TCP port: players look for
// /certificate.sha256 with plain HTTP at the port that speaks TLS. The first
// byte tells them apart, because a TLS record of a handshake begins with 22
// (RFC 8446 section 5.1) and no HTTP method does.
type sniffer struct {
	l     net.Listener
	tls   chan net.Conn
	plain chan net.Conn
	done  chan struct{} // closed when Run returns
	slots chan struct{} // bounds the connections that have not shown their first byte
}

const (
	sniffTimeout = 5 * time.Second
	sniffPending = 256
	tlsHandshake = 22
)

func newSniffer(l net.Listener) *sniffer {
	return &sniffer{
		l: l, tls: make(chan net.Conn), plain: make(chan net.Conn),
		done: make(chan struct{}), slots: make(chan struct{}, sniffPending),
	}
}

// Run accepts until ctx ends or the listener fails, and closes the listener.
func (s *sniffer) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer close(s.done)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(ctx, func() { s.l.Close() })()
	for {
		c, err := s.l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
				continue
			}
			s.l.Close()
			return err
		}
		select {
		case s.slots <- struct{}{}:
		default:
			c.Close()
			continue
		}
		wg.Go(func() {
			defer func() { <-s.slots }()
			s.sniff(ctx, c)
		})
	}
}

func (s *sniffer) sniff(ctx context.Context, c net.Conn) {
	stop := context.AfterFunc(ctx, func() { c.SetReadDeadline(time.Now()) }) //nolint:errcheck // then it is closed already
	first := make([]byte, 1)
	err := c.SetReadDeadline(time.Now().Add(sniffTimeout))
	if err == nil {
		_, err = c.Read(first)
	}
	if !stop() || err != nil {
		c.Close()
		return
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		c.Close()
		return
	}
	to := s.plain
	if first[0] == tlsHandshake {
		to = s.tls
	}
	select {
	case to <- &peekedConn{Conn: c, first: first}:
	case <-ctx.Done():
		c.Close()
	}
}

// TLS returns a listener of the connections that began with TLS.
func (s *sniffer) TLS() net.Listener {
	return &sniffed{s: s, conns: s.tls, closed: make(chan struct{})}
}

// Plain returns a listener of the others.
func (s *sniffer) Plain() net.Listener {
	return &sniffed{s: s, conns: s.plain, closed: make(chan struct{})}
}

type sniffed struct {
	s      *sniffer
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *sniffed) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
	case <-l.s.done:
	}
	return nil, net.ErrClosed
}

// Close makes Accept return. The port stays open for the sniffer's other side.
func (l *sniffed) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *sniffed) Addr() net.Addr { return l.s.l.Addr() }

// A peekedConn gives back the byte that was read.
type peekedConn struct {
	net.Conn
	first []byte
}

// NetConn returns the connection below, for its statistics.
func (c *peekedConn) NetConn() net.Conn { return c.Conn }

func (c *peekedConn) Read(p []byte) (int, error) {
	if len(c.first) > 0 && len(p) > 0 {
		n := copy(p, c.first)
		c.first = c.first[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}
