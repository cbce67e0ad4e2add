package sim

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A stream has one or two halves: forth is written by its opener.
type stream struct {
	id          uint64
	kind        int // 0: bidirectional, 1: unidirectional
	opener      *conn
	forth, back *half
	known       bool // it has arrived at the other end
	over        bool
}

// A half is one direction of a stream, at both of its ends.
type half struct {
	st       *stream
	from, to *conn

	// At the sender.
	ctx      context.Context
	end      context.CancelCauseFunc
	unsent   []byte
	wrote    int64 // by the application
	sent     int64
	limit    int64 // how much the receiver takes
	fin      bool
	finSent  bool
	err      error // why nothing can be written
	boundary int64 // what a reset must spare
	urgency  int
	listed   bool      // with the link
	roomAt   time.Time // when the limit was last raised

	// At the receiver.
	pieces  []piece // that came early
	buf     []byte  // that can be read
	off     int64   // of what comes behind buf
	read    int64
	readAt  time.Time // by the application, last
	granted int64
	finAt   int64 // -1: not known
	reset   *moqt.StreamError
	spared  int64 // of a reset
	stop    *moqt.StreamError
	ended   bool // the application has seen the end, or asked for no more
}

// A piece is data that has arrived.
type piece struct {
	off int64
	b   []byte
}

func newHalf(s *stream, from *conn) *half {
	h := &half{st: s, from: from, to: from.peer, finAt: -1, urgency: 3}
	if s.kind == 0 || from.opened[1] == 1 { // requests and the control stream
		h.urgency = 0
	}
	h.limit = from.cfg.window[from.peer.side()]
	h.granted = h.limit
	h.ctx, h.end = context.WithCancelCause(from.ctx)
	return h
}

// arrive takes data at the receiver.
func (h *half) arrive(off int64, b []byte, fin bool) {
	c := h.to
	if c.closed {
		return
	}
	h.show()
	if fin {
		h.finAt = off + int64(len(b))
	}
	if h.reset != nil {
		b = b[:max(0, min(int64(len(b)), h.spared-off))] // the rest is lost
		if len(b) == 0 {
			return
		}
	}
	i, _ := slices.BinarySearchFunc(h.pieces, off, func(p piece, off int64) int { return int(p.off - off) })
	h.pieces = slices.Insert(h.pieces, i, piece{off, b})
	for len(h.pieces) > 0 && h.pieces[0].off <= h.off {
		p := h.pieces[0]
		h.pieces = h.pieces[1:]
		h.off += int64(len(p.b))
		if h.stop != nil {
			c.consumed(int64(len(p.b)))
			h.read += int64(len(p.b))
		} else {
			h.buf = append(h.buf, p.b...)
		}
	}
	h.settle()
	c.w.wake(c.owner)
}

// show lets the receiver accept the stream.
func (h *half) show() {
	s := h.st
	if s.known || h.from != s.opener {
		return
	}
	s.known = true
	if s.kind == 0 {
		h.to.bidis = append(h.to.bidis, s)
	} else {
		h.to.unis = append(h.to.unis, s)
	}
}

// done reports whether the receiver needs nothing more of h.
func (h *half) done() bool {
	if h == nil {
		return true
	}
	whole := h.finAt >= 0 && h.off >= h.finAt || h.reset != nil
	return whole && (h.ended || h.stop != nil)
}

// settle returns the credit of a stream of which both halves are over.
func (h *half) settle() {
	s := h.st
	if !s.over && s.forth.done() && s.back.done() {
		s.over = true
		s.opener.peer.finished(s.kind)
	}
}

// An end is a stream as one of the two sees it.
type end struct {
	c    *conn
	st   *stream
	send *half
	recv *half
}

// room returns how much can be written. What is urgent finds room in any queue.
func (e *end) room() int64 {
	h, c := e.send, e.c
	room := min(h.limit-h.wrote, c.limit-c.wrote)
	if h.urgency > 0 {
		room = min(room, int64(c.out.cfg.queue-c.out.queued))
	}
	return room
}

func (e *end) writable() error {
	switch h := e.send; {
	case h.err != nil:
		return h.err
	case e.c.closed:
		return context.Cause(e.c.ctx)
	case h.fin:
		return errors.New("sim: write after the end of the stream")
	}
	return nil
}

// TryWrite implements moqt.SendStream.
func (e *end) TryWrite(p []byte) error {
	e.c.check()
	if err := e.writable(); err != nil {
		return err
	}
	if int64(len(p)) > e.room() {
		return moqt.ErrWouldBlock
	}
	if e.c.tap != nil {
		e.c.tap(e.send, p)
	}
	e.put(p)
	return nil
}

func (e *end) put(p []byte) {
	h, c := e.send, e.c
	h.unsent = append(h.unsent, p...)
	h.wrote += int64(len(p))
	c.wrote += int64(len(p))
	c.out.queued += len(p)
	c.out.send(h)
}

// Write is never called under Step.
func (e *end) Write([]byte) (int, error) { panic("sim: Write waits") }

// SetWriteDeadline has no effect, since nothing waits.
func (e *end) SetWriteDeadline(time.Time) error { return nil }

// Close implements moqt.SendStream.
func (e *end) Close() error {
	e.c.check()
	if err := e.writable(); err != nil {
		return err
	}
	e.send.fin = true
	e.c.out.send(e.send)
	return nil
}

// CancelWrite implements moqt.SendStream.
func (e *end) CancelWrite(code wire.ResetCode) {
	e.c.check()
	e.send.cancel(code, false)
}

// cancel resets h; asked says that the receiver wanted it.
func (h *half) cancel(code wire.ResetCode, asked bool) {
	c := h.from
	if h.err != nil || c.closed || h.finSent {
		return
	}
	h.err = &moqt.StreamError{Code: code, Remote: asked}
	h.end(h.err)
	// What must be spared is still sent.
	keep := max(0, min(int64(len(h.unsent)), h.boundary-h.sent))
	c.out.queued -= len(h.unsent) - int(keep)
	h.unsent = h.unsent[:keep]
	h.fin = false
	if keep == 0 {
		c.out.remove(h)
	}
	spared, size := h.boundary, h.wrote
	c.out.signal("reset", h.st.id, uint64(code), func() { h.cutOff(code, spared, size) })
}

// cutOff takes a reset at the receiver.
func (h *half) cutOff(code wire.ResetCode, spared, size int64) {
	c := h.to
	if c.closed || h.reset != nil {
		return
	}
	h.show()
	if h.finAt >= 0 && h.off >= h.finAt {
		return // everything is there
	}
	h.reset, h.spared = &moqt.StreamError{Code: code, Remote: true}, spared
	// What lies behind the boundary and was not read is lost; it counts as read.
	c.consumed(size - max(h.read, min(size, spared)))
	h.buf = h.buf[:min(int64(len(h.buf)), max(0, spared-h.read))]
	h.settle()
	c.w.wake(c.owner)
}

// SetPriority implements moqt.SendStream.
func (e *end) SetPriority(urgency int, _ bool) { e.send.urgency = urgency }

// SetReliableBoundary implements moqt.SendStream.
func (e *end) SetReliableBoundary() { e.send.boundary = e.send.wrote }

// Context implements moqt.SendStream.
func (e *end) Context() context.Context { return e.send.ctx }

// Read implements moqt.ReceiveStream.
func (e *end) Read(p []byte) (int, error) {
	h := e.recv
	switch {
	case h.stop != nil:
		return 0, h.stop
	case len(h.buf) > 0 && len(p) > 0 && !e.c.closed:
		n := copy(p, h.buf)
		h.buf = h.buf[n:]
		h.read += int64(n)
		h.readAt = e.c.w.now
		e.c.consumed(int64(n))
		h.grant()
		return n, nil
	case h.reset != nil && h.read >= min(h.spared, h.off) && (h.off >= h.spared || len(h.pieces) == 0):
		h.ended = true
		h.settle()
		return 0, h.reset
	case h.finAt >= 0 && h.read >= h.finAt:
		h.ended = true
		h.settle()
		return 0, io.EOF
	case e.c.closed:
		return 0, context.Cause(e.c.ctx)
	}
	return 0, moqt.ErrWouldBlock
}

// grant lets the sender go on.
func (h *half) grant() {
	c := h.to
	window := c.cfg.window[c.side()]
	if h.granted-h.read >= window/2 || h.finAt >= 0 || h.reset != nil {
		return
	}
	h.granted = h.read + window
	limit := h.granted
	c.out.signal("max stream data", h.st.id, uint64(limit), func() {
		h.limit = max(h.limit, limit)
		h.roomAt = c.w.now
		c.w.wake(h.from.owner)
	})
}

// SetReadDeadline has no effect, since nothing waits.
func (e *end) SetReadDeadline(time.Time) error { return nil }

// CancelRead implements moqt.ReceiveStream.
func (e *end) CancelRead(code wire.ResetCode) {
	h := e.recv
	if h.stop != nil || h.ended || e.c.closed {
		return
	}
	h.stop = &moqt.StreamError{Code: code}
	e.c.consumed(int64(len(h.buf)))
	h.read += int64(len(h.buf))
	h.buf = nil
	e.c.out.signal("stop", h.st.id, uint64(code), func() {
		h.cancel(code, true)
		e.c.w.wake(h.from.owner)
	})
	h.settle()
}
