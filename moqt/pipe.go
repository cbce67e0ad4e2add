package moqt

import (
	"context"
	"errors"
	"time"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

// maxQueue bounds what waits on one control or request stream for its opening
// or for flow control, in bytes.
const maxQueue = 256 << 10

// A pipe is a control or request stream. Its messages go out at once if flow
// control lets them; otherwise a goroutine writes them, with a deadline, so
// that the loop never waits for a peer.
type pipe struct {
	sid   streamID
	send  SendStream    // nil until it is open
	recv  ReceiveStream // nil for our control stream
	queue []byte
	fin   bool // FIN goes behind queue
	done  bool // FIN or reset is out
	busy  bool // a goroutine writes
	// What the goroutines of Run know by themselves, for Step.
	tried      bool      // to open it, to the end
	read, told bool      // it is read to its end; its stop was told
	aside      []byte    // what writeAside has left to write
	until      time.Time // when that, or the opening, has to be done
	forgotten  bool      // the core has no more use for it
	unwatch    func() bool
}

func newPipe(sid streamID, send SendStream, recv ReceiveStream) *pipe {
	return &pipe{sid: sid, send: send, recv: recv}
}

// open opens a request stream, which may have to wait for stream credit.
func (d *driver) open(sid streamID, wait time.Duration) {
	p := newPipe(sid, nil, nil)
	d.pipes[sid] = p
	if d.steps != nil {
		p.until = d.now().Add(wait)
		return
	}
	d.spawn(func() {
		ctx, cancel := context.WithTimeout(d.ctx, wait)
		defer cancel()
		st, err := d.s.conn.OpenStream(ctx)
		if !d.post(drvOpened{sid, st, err}) && err == nil {
			st.CancelWrite(wire.ResetSessionClosed)
			st.CancelRead(wire.ResetSessionClosed)
		}
	})
}

// attach starts reading an open request stream.
func (d *driver) attach(p *pipe) {
	d.watch(p)
	if d.steps != nil {
		return
	}
	recv := p.recv
	d.spawn(func() { _ = d.read(p.sid, recv, make([]byte, readSize)) })
}

// watch tells the core if the peer stops our half of a stream.
func (d *driver) watch(p *pipe) {
	if d.steps != nil {
		return
	}
	ctx, sid := p.send.Context(), p.sid
	p.unwatch = context.AfterFunc(ctx, func() {
		if code, ok := stopped(ctx); ok {
			d.s.call(evStopped{sid, code})
		}
	})
}

// stopped reports whether the peer has stopped the stream with this context.
func stopped(ctx context.Context) (wire.ResetCode, bool) {
	if se, ok := errors.AsType[*StreamError](context.Cause(ctx)); ok && se.Remote {
		return se.Code, true
	}
	return 0, false
}

func (d *driver) write(a actWrite) {
	p := d.pipes[a.sid]
	if p == nil || p.done {
		return
	}
	if len(p.queue)+len(a.b) > maxQueue {
		d.s.call(evFailed{p.sid, errBlocked})
		return
	}
	p.queue = append(p.queue, a.b...)
	d.flush(p)
}

var errBlocked = errors.New("moqt: stream takes no messages")

// flush writes what waits.
func (d *driver) flush(p *pipe) {
	if p.send == nil || p.busy || p.done {
		return
	}
	if len(p.queue) > 0 {
		err := p.send.TryWrite(p.queue)
		if errors.Is(err, ErrWouldBlock) {
			d.writeAside(p)
			return
		}
		p.queue = nil // also if the stream is dead, which its context tells
	}
	if p.fin {
		_ = p.send.Close() // if the stream is dead, its context tells
		p.done = true
	}
	if p.forgotten {
		d.drop(p)
	}
}

// writeAside writes what waits in a goroutine.
func (d *driver) writeAside(p *pipe) {
	p.busy = true
	b := p.queue
	p.queue = nil
	if d.steps != nil {
		p.aside, p.until = b, d.now().Add(d.s.cfg.Limits.WriteTimeout)
		return
	}
	send, sid := p.send, p.sid
	d.spawn(func() {
		_ = send.SetWriteDeadline(time.Now().Add(d.s.cfg.Limits.WriteTimeout)) // Write tells what is wrong
		_, err := send.Write(b)
		_ = send.SetWriteDeadline(time.Time{})
		d.post(drvWritten{sid, err})
	})
}

// written takes the end of writeAside, and returns what the core has to know.
func (d *driver) written(e drvWritten) event {
	p := d.pipes[e.sid]
	if p == nil {
		return nil
	}
	p.busy = false
	if e.err == nil {
		d.flush(p)
		return nil
	}
	_, stopped := errors.AsType[*StreamError](e.err)
	if stopped || p.done || d.s.conn.Context().Err() != nil {
		if p.forgotten {
			d.drop(p)
		}
		return nil // the context of the stream, or of the connection, tells
	}
	if p.forgotten { // the core has ended it, but the end does not get out
		p.reset(wire.ResetExcessiveLoad)
		d.drop(p)
		return nil
	}
	return evFailed{e.sid, errBlocked}
}

func (p *pipe) reset(code wire.ResetCode) {
	p.queue = nil
	if p.send != nil && !p.done {
		p.send.CancelWrite(code)
	}
	p.done = true
}

// stop stops reading a stream of any kind.
func (d *driver) stop(a actStop) {
	if p := d.pipes[a.sid]; p != nil && p.recv != nil {
		p.recv.CancelRead(a.code)
	}
	if u := d.unis[a.sid]; u != nil {
		u.recv.CancelRead(a.code)
		select {
		case u.verdict <- verdict{}:
		default: // it fills a track, and sees the end by itself
		}
	}
}

// forget drops a stream once what waits on it is out.
func (d *driver) forget(sid streamID) {
	p := d.pipes[sid]
	if p == nil {
		return
	}
	p.forgotten = true
	if p.send == nil || p.done && !p.busy {
		d.drop(p)
	}
}

func (d *driver) drop(p *pipe) {
	if p.unwatch != nil {
		p.unwatch()
	}
	delete(d.pipes, p.sid)
}
