package moqttest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A stream has two sides: a is that of its opener.
type stream struct {
	name   string
	uni    bool
	opener *Conn
	known  bool // something of it has arrived at the other end
	a, b   *side
	freed  bool // its stream credit was returned
}

// A side is one end's view of a stream: it sends into the other side's half.
type side struct {
	s     *stream
	conn  *Conn
	other *side
	in    half // what we receive; unused at the opener of a unidirectional stream

	// Of the sending half.
	ctx      context.Context
	end      context.CancelCauseFunc
	finished bool // FIN or reset was sent
	err      error
	boundary int
	until    time.Time // write deadline
}

// A half is one direction of a stream at its receiver.
type half struct {
	buf     []byte // arrived, not read
	sent    int    // bytes that the sender has written
	got     int    // bytes that have arrived
	read    int
	fin     bool
	reset   *moqt.StreamError
	stopped *moqt.StreamError
	until   time.Time // read deadline
}

// over reports whether nothing more is to be read.
func (h *half) over() bool {
	return h.stopped != nil && (h.fin || h.reset != nil) ||
		len(h.buf) == 0 && (h.fin || h.reset != nil)
}

// newStream opens a stream, or returns nil if there is no credit.
func (c *Conn) newStream(uni bool) *stream {
	kind, most, name := 0, c.pair.cfg.Streams, "bidi"
	if uni {
		kind, most, name = 1, c.pair.cfg.UniStreams, "uni"
	}
	if c.open[kind] >= most {
		return nil
	}
	s := &stream{name: fmt.Sprintf("%v %s %d", c.info.Local, name, c.opened[kind]), uni: uni, opener: c}
	c.open[kind]++
	c.opened[kind]++
	s.a, s.b = newSide(s, c), newSide(s, c.peer)
	s.a.other, s.b.other = s.b, s.a
	return s
}

func newSide(s *stream, c *Conn) *side {
	d := &side{s: s, conn: c}
	d.ctx, d.end = context.WithCancelCause(c.ctx)
	return d
}

// arrive shows the stream to the end that did not open it.
func (s *stream) arrive() {
	if s.known {
		return
	}
	s.known = true
	c := s.opener.peer
	if s.uni {
		c.unis = append(c.unis, s)
	} else {
		c.accept = append(c.accept, s)
	}
}

// settle returns the stream's credit once both halves are over.
func (s *stream) settle() {
	if s.freed || !s.b.in.over() || !s.uni && !s.a.in.over() {
		return
	}
	s.freed = true
	if s.uni {
		s.opener.open[1]--
	} else {
		s.opener.open[0]--
	}
	s.opener.pair.change()
}

// An end is a side as the session sees it.
type end struct{ d *side }

func (e *end) lock() func() {
	e.d.conn.pair.mu.Lock()
	return e.d.conn.pair.mu.Unlock
}

func (d *side) tap(s Sent) {
	s.Stream = d.s.name
	d.conn.tap(s)
}

// room returns how much can be written now.
func (d *side) room() int {
	in := &d.other.in
	return min(d.conn.out.room(), d.conn.pair.cfg.Window-(in.sent-in.read))
}

// send writes p, for which there is room.
func (d *side) send(p []byte) {
	d.tap(Sent{Data: p})
	p = append([]byte(nil), p...)
	in := &d.other.in
	in.sent += len(p)
	d.conn.out.send(len(p), func() {
		d.s.arrive()
		in.got += len(p)
		if in.stopped != nil {
			in.read += len(p)
		} else {
			in.buf = append(in.buf, p...)
		}
		d.conn.pair.change()
	})
}

// writable returns why nothing can be written.
func (d *side) writable() error {
	switch {
	case d.err != nil:
		return d.err
	case d.conn.ctx.Err() != nil:
		return context.Cause(d.conn.ctx)
	case d.finished:
		return errors.New("moqttest: write after the end of the stream")
	}
	return nil
}

func (e *end) Write(p []byte) (n int, err error) {
	defer e.lock()()
	d := e.d
	for {
		if err := d.writable(); err != nil {
			return n, err
		}
		if room := min(d.room(), len(p)-n); room > 0 {
			d.send(p[n : n+room])
			n += room
		}
		if n == len(p) {
			return n, nil
		}
		if err := d.conn.pair.wait(d.ctx, d.until); errors.Is(err, errDeadline) {
			return n, err
		}
	}
}

func (e *end) TryWrite(p []byte) error {
	defer e.lock()()
	if err := e.d.writable(); err != nil {
		return err
	}
	if e.d.room() < len(p) {
		return moqt.ErrWouldBlock
	}
	e.d.send(p)
	return nil
}

func (e *end) SetWriteDeadline(t time.Time) error {
	defer e.lock()()
	e.d.until = t
	e.d.conn.pair.change()
	return nil
}

func (e *end) Close() error {
	defer e.lock()()
	d := e.d
	if d.finished || d.conn.closed {
		return nil
	}
	d.finished = true
	d.tap(Sent{Fin: true})
	in := &d.other.in
	d.conn.out.send(0, func() {
		d.s.arrive()
		in.fin = true
		d.s.settle()
		d.conn.pair.change()
		d.end(nil)
	})
	return nil
}

func (e *end) CancelWrite(code wire.ResetCode) {
	defer e.lock()()
	e.d.cancelWrite(code, false)
}

// cancelWrite resets the sending half; asked says that the peer wanted it.
func (d *side) cancelWrite(code wire.ResetCode, asked bool) {
	if d.err != nil || d.conn.closed || d.finished && d.other.in.fin {
		return
	}
	d.finished = true
	d.err = &moqt.StreamError{Code: code, Remote: asked}
	d.end(d.err)
	d.tap(Sent{Reset: true, Code: uint64(code)})
	in := &d.other.in
	boundary := d.boundary
	d.conn.out.send(0, func() {
		if in.fin {
			return
		}
		d.s.arrive()
		in.reset = &moqt.StreamError{Code: code, Remote: true}
		// What was not read is lost, but for what was made reliable.
		in.buf = in.buf[:min(len(in.buf), max(0, boundary-in.read))]
		d.s.settle()
		d.conn.pair.change()
	})
	d.conn.pair.change()
}

// SetPriority has no effect: the link serves in the order of writes.
func (e *end) SetPriority(int, bool) {}

func (e *end) SetReliableBoundary() {
	defer e.lock()()
	e.d.boundary = e.d.other.in.sent
}

func (e *end) Context() context.Context { return e.d.ctx }

func (e *end) Read(p []byte) (int, error) {
	defer e.lock()()
	d := e.d
	in := &d.in
	for {
		switch {
		case in.stopped != nil:
			return 0, in.stopped
		case len(in.buf) > 0 && len(p) > 0:
			n := copy(p, in.buf)
			in.buf = in.buf[n:]
			in.read += n
			d.s.settle()
			d.conn.pair.change() // there is room again
			return n, nil
		case in.reset != nil:
			return 0, in.reset
		case in.fin:
			return 0, io.EOF
		case d.conn.ctx.Err() != nil:
			return 0, context.Cause(d.conn.ctx)
		case len(p) == 0:
			return 0, nil
		}
		if err := d.conn.pair.wait(d.conn.ctx, in.until); errors.Is(err, errDeadline) {
			return 0, err
		}
	}
}

func (e *end) SetReadDeadline(t time.Time) error {
	defer e.lock()()
	e.d.in.until = t
	e.d.conn.pair.change()
	return nil
}

func (e *end) CancelRead(code wire.ResetCode) {
	defer e.lock()()
	d := e.d
	in := &d.in
	if in.stopped != nil || in.over() || d.conn.closed {
		return
	}
	d.tap(Sent{Stop: true, Code: uint64(code)})
	in.stopped = &moqt.StreamError{Code: code}
	in.read += len(in.buf)
	in.buf = nil
	d.s.settle()
	d.conn.pair.change()
	other := d.other
	d.conn.out.send(0, func() { other.cancelWrite(code, true) })
}
