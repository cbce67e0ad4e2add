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

// A role is what a client is there for.
type role interface {
	// ready is called when SETUP has come from the relay.
	ready()
	// asked takes a request of the relay, with its first message.
	asked(r *request, t wire.MessageType, body []byte)
	// data takes a new data stream, and returns what reads it.
	data(s *inStream) sink
	// gram takes a datagram.
	gram(b []byte)
	// lost is called when the connection is gone.
	lost(err error)
}

// A sink takes what comes on a data stream.
type sink interface {
	// take takes bytes and returns how many it has used; the others come again.
	take(b []byte) int
	// end takes the end of the stream: io.EOF for FIN, else what cut it. Every
	// byte before it was offered.
	end(rest []byte, err error)
}

// A client plays the other end of one of the relay's sessions, message by
// message, so that it can also do what no decent client would.
type client struct {
	w    *world
	name string
	role role
	c    *conn
	node *node

	control *writer
	open    bool
	setup   bool
	gone    bool
	badge   bool // it registers a token
	goaway  bool // the relay has sent GOAWAY
	nextID  uint64
	reqs    []*request
	ins     []*inStream
	writers []*writer // that have something left to write
	stalled bool      // data streams are not read
	buf     []byte
}

// newClient puts a client on c.
func (w *world) newClient(name string, c *conn, r role) *client {
	cl := &client{w: w, name: name, role: r, c: c, buf: make([]byte, 4<<10)}
	cl.node = w.join(name, cl)
	c.owner = cl.node
	return cl
}

func (cl *client) pending() bool { return false }

// id returns the ID of the next request.
func (cl *client) id() uint64 {
	id := cl.nextID
	cl.nextID += 2
	return id
}

func (cl *client) step(now time.Time) (next time.Time) {
	if cl.gone {
		return time.Time{}
	}
	if cl.c.closed {
		cl.gone = true
		cl.w.leave(cl.node)
		cl.role.lost(context.Cause(cl.c.ctx))
		return time.Time{}
	}
	if !cl.open {
		s, err := cl.c.OpenUniStream()
		if err != nil {
			return now.Add(5 * time.Millisecond)
		}
		cl.open = true
		cl.control = &writer{cl: cl, e: s.(*end)}
		m := wire.Setup{Implementation: "sim"}
		if cl.badge {
			m.Tokens = []wire.Token{{AliasType: wire.TokenRegister, Alias: 1, Value: []byte(badge)}}
		}
		cl.control.message(m)
	}
	cl.read()
	for _, wr := range slices.Clone(cl.writers) {
		wr.flush()
	}
	if len(cl.writers) > 0 || slices.ContainsFunc(cl.reqs, func(r *request) bool { return r.e == nil }) {
		return now.Add(10 * time.Millisecond)
	}
	return time.Time{}
}

// read takes everything that has come.
func (cl *client) read() {
	for {
		s, err := cl.c.AcceptStream(context.Background())
		if err != nil {
			break
		}
		e := s.(*end)
		cl.reqs = append(cl.reqs, &request{cl: cl, e: e, out: &writer{cl: cl, e: e}})
	}
	for {
		s, err := cl.c.AcceptUniStream(context.Background())
		if err != nil {
			break
		}
		cl.ins = append(cl.ins, &inStream{cl: cl, e: s.(*end)})
	}
	for _, r := range slices.Clone(cl.reqs) {
		r.read()
	}
	for {
		b, err := cl.c.ReceiveDatagram(context.Background())
		if err != nil {
			break
		}
		cl.role.gram(b)
	}
	cl.reqs = slices.DeleteFunc(cl.reqs, func(r *request) bool { return r.over })
	for _, s := range slices.Clone(cl.ins) {
		if !cl.stalled || s.kind == wire.StreamControl || s.kind == wire.StreamUnknown && !cl.setup {
			s.read()
		}
	}
	cl.ins = slices.DeleteFunc(cl.ins, func(s *inStream) bool { return s.over })
}

// request opens a request stream with m. answer takes each message that comes
// back, ended its end.
func (cl *client) request(m wire.Request, answer func(t wire.MessageType, body []byte), ended func(error)) *request {
	r := &request{cl: cl, opener: m.Type(), message: answer, ended: ended, since: cl.w.now, slack: cl.c.slack(), late: cl.goaway}
	r.out = &writer{cl: cl}
	r.out.message(m)
	cl.reqs = append(cl.reqs, r)
	cl.w.wake(cl.node)
	return r
}

// A request is a request stream, of either side.
type request struct {
	cl      *client
	e       *end // nil until there is a stream
	out     *writer
	opener  wire.MessageType // 0: the relay's, which has said nothing yet
	in      []byte
	message func(t wire.MessageType, body []byte)
	ended   func(error)
	since   time.Time
	slack   time.Duration // of the connection then
	late    bool          // it was sent after a GOAWAY had come
	over    bool
}

func (r *request) read() {
	cl := r.cl
	if r.e == nil {
		s, err := cl.c.OpenStream(context.Background())
		if err != nil {
			return
		}
		r.e = s.(*end)
		r.out.e = r.e
		r.out.flush()
	}
	for !r.over {
		n, err := r.e.Read(cl.buf)
		r.in = append(r.in, cl.buf[:n]...)
		for !r.over {
			t, body, n, err := wire.ParseFrame(r.in)
			if err != nil {
				break
			}
			r.in = r.in[n:]
			cl.w.note(cl.name, t.String(), r.e.st.id, uint64(len(body)), digest(body))
			if r.opener == 0 {
				r.opener = t
				cl.role.asked(r, t, body)
				continue
			}
			if r.late {
				r.refusedLate(t, body)
			}
			if r.message != nil {
				r.message(t, body)
			}
		}
		if errors.Is(err, moqt.ErrWouldBlock) {
			return
		}
		if err != nil && !r.over {
			if errors.Is(err, io.EOF) && len(r.in) > 0 {
				cl.w.fail("protocol", "%s: a request stream ends inside a message", cl.name)
			}
			r.over = true
			if r.ended != nil {
				r.ended(err)
			}
		}
	}
}

// drop ends the request from this side, without a word.
func (r *request) drop(code wire.ResetCode) {
	if r.e != nil && !r.cl.c.closed {
		r.e.CancelRead(code)
		r.e.CancelWrite(code)
	}
	r.over = true
}

// finish ends this side cleanly.
func (r *request) finish() {
	r.out.fin = true
	r.out.flush()
}

// A writer writes to a stream what flow control lets through, and keeps the rest.
type writer struct {
	cl     *client
	e      *end // nil until there is one
	buf    []byte
	fin    bool
	done   bool // FIN or reset is out
	listed bool
}

func (wr *writer) message(m wire.Message) {
	b, err := wire.AppendMessage(nil, m)
	if err != nil {
		panic(err)
	}
	wr.write(b)
}

func (wr *writer) write(b []byte) {
	wr.buf = append(wr.buf, b...)
	wr.flush()
}

// close ends the stream with FIN.
func (wr *writer) close() {
	wr.fin = true
	wr.flush()
}

// reset cuts the stream.
func (wr *writer) reset(code wire.ResetCode) {
	if wr.done {
		return
	}
	wr.buf, wr.done = nil, true
	if wr.e != nil {
		wr.e.CancelWrite(code)
	}
	wr.unlist()
}

func (wr *writer) flush() {
	if wr.done || wr.e == nil {
		return
	}
	for len(wr.buf) > 0 {
		n := int(min(wr.e.room(), int64(len(wr.buf))))
		if n <= 0 && wr.e.writable() == nil {
			if !wr.listed {
				wr.listed = true
				wr.cl.writers = append(wr.cl.writers, wr)
				wr.cl.w.wake(wr.cl.node)
			}
			return
		}
		if err := wr.e.TryWrite(wr.buf[:max(n, 0)]); err != nil {
			wr.buf, wr.done = nil, true
			wr.unlist()
			return
		}
		wr.buf = wr.buf[n:]
	}
	wr.buf = nil
	if wr.fin {
		_ = wr.e.Close() // if the stream is dead, nobody reads
		wr.done = true
	}
	wr.unlist()
}

func (wr *writer) unlist() {
	if wr.listed {
		wr.listed = false
		wr.cl.writers = slices.DeleteFunc(wr.cl.writers, func(o *writer) bool { return o == wr })
	}
}

// An inStream is a unidirectional stream of the relay.
type inStream struct {
	cl   *client
	e    *end
	kind wire.StreamType
	buf  []byte
	sink sink
	over bool
	err  error // how it has ended, once all was read
}

func (s *inStream) read() {
	cl := s.cl
	for s.err == nil && !s.over {
		n, err := s.e.Read(cl.buf)
		s.buf = append(s.buf, cl.buf[:n]...)
		if errors.Is(err, moqt.ErrWouldBlock) {
			break
		}
		s.err = err
		if n > 0 && !s.offer() {
			return
		}
	}
	if !s.offer() || s.err == nil {
		return
	}
	s.over = true
	if s.sink != nil {
		s.sink.end(s.buf, s.err)
	} else if s.kind == wire.StreamControl && !cl.c.closed {
		cl.w.fail("protocol", "%s: the relay's control stream ended: %v", cl.name, s.err)
	}
}

// offer hands on what has come. It reports false while the sink takes nothing
// because it does not know yet what to make of it.
func (s *inStream) offer() bool {
	cl := s.cl
	if s.kind == wire.StreamUnknown {
		kind, _, err := wire.ParseStreamType(s.buf)
		if errors.Is(err, wire.ErrShort) {
			return true
		}
		if err != nil {
			cl.w.fail("protocol", "%s: stream of unknown type %x", cl.name, s.buf[:min(8, len(s.buf))])
		}
		if s.kind = kind; kind != wire.StreamControl {
			s.sink = cl.role.data(s)
		}
	}
	if s.kind == wire.StreamControl {
		s.messages()
		return true
	}
	for len(s.buf) > 0 {
		n := s.sink.take(s.buf)
		s.buf = s.buf[n:]
		if n <= 0 {
			break
		}
	}
	if w, ok := s.sink.(interface{ waiting() bool }); ok && w.waiting() {
		return false
	}
	return true
}

// messages takes what comes on the relay's control stream.
func (s *inStream) messages() {
	cl := s.cl
	for {
		t, body, n, err := wire.ParseFrame(s.buf)
		if err != nil {
			return
		}
		s.buf = s.buf[n:]
		cl.w.note(cl.name, t.String(), s.e.st.id, uint64(len(body)), digest(body))
		switch {
		case t == wire.TypeSetup && !cl.setup:
			cl.setup = true
			cl.role.ready()
		case t == wire.TypeGoaway && cl.setup && !cl.goaway:
			if _, err := wire.ParseGoaway(body, true); err != nil {
				cl.w.fail("protocol", "%s: %v", cl.name, err)
			}
			cl.goaway = true
		default:
			cl.w.fail("protocol", "%s: %v on the relay's control stream", cl.name, t)
		}
	}
}

// stop gives up a stream.
func (s *inStream) stop(code wire.ResetCode) {
	s.e.CancelRead(code)
	s.over = true
}
