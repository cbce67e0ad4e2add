package moqt

import (
	"errors"
	"io"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A uni is an inbound unidirectional stream. A goroutine reads it to its end, or
// Step does, each time as far as it goes without waiting.
type uni struct {
	sid     streamID
	recv    ReceiveStream
	state   uniState
	in      inbound
	stalls  time.Time             // when an object that has begun has to have gone on
	until   time.Time             // when the header has to be there
	verdict chan verdict          // of a data stream: what to fill
	w       *track.SubgroupWriter // of a subgroup stream that fills
	sink    *fetchSink            // of a stream that answers a FETCH
	buf     []byte                // of a control stream, or one that answers a FETCH
	room    room                  // of a stream that is held up
}

// A verdict says what a data stream fills; the zero value, that it is not wanted.
type verdict struct {
	w    *track.SubgroupWriter
	sink *fetchSink
}

type uniState uint8

const (
	uniHeader  uniState = iota // what the stream carries is not known
	uniControl                 // messages
	uniVerdict                 // a data stream that waits for the core
	uniFill                    // a data stream that fills a track
	uniPadding
)

// accepted takes a new inbound unidirectional stream.
func (d *driver) accepted(recv ReceiveStream) {
	if len(d.unis) >= d.s.cfg.Limits.DataStreams+2 { // a control and a padding stream
		d.stopUni(recv, wire.ResetExcessiveLoad)
		return
	}
	u := &uni{
		sid: d.newSID(), recv: recv,
		until:   d.now().Add(d.s.cfg.ResponseTimeout),
		verdict: make(chan verdict, 1),
	}
	d.unis[u.sid] = u
	if d.steps != nil {
		return
	}
	d.spawn(func() {
		ev, err := d.readUni(u) // to the end, since Read waits
		if !errors.Is(err, errHandedOn) {
			d.post(drvUniEnd{u.sid, ev})
		}
	})
}

// errHandedOn says that another goroutine reads the stream from here on.
var errHandedOn = errors.New("moqt: handed on")

// readControl reads the peer's control stream from behind its header to its end.
// It is a goroutine of its own, because most sessions wait here for all their
// life: the stack on which the header was read has grown, and this one has not.
func (d *driver) readControl(u *uni) {
	_ = d.read(u.sid, u.recv, make([]byte, controlReadSize)) // the core was told why it ended
	d.post(drvUniEnd{u.sid, nil})
}

// readUni reads u to its end, and returns what to tell the core of that. Where
// Read does not wait it returns ErrWouldBlock, and goes on when called again.
func (d *driver) readUni(u *uni) (event, error) {
	if u.state == uniHeader {
		if ev, err := d.readHeader(u); err != nil || ev != nil {
			return ev, wouldBlock(err)
		}
		switch u.in.kind {
		case wire.StreamControl:
			u.state = uniControl
			if !d.post(evControl{u.sid}) || !d.post(evBytes{u.sid, u.in.rest}) {
				return nil, nil
			}
			if d.steps == nil {
				d.spawn(func() { d.readControl(u) })
				return nil, errHandedOn
			}
		case wire.StreamSubgroup:
			u.state = uniVerdict
			if !d.post(evSubgroup{u.sid, u.in.header}) {
				return nil, nil
			}
		case wire.StreamPadding:
			u.state = uniPadding
		case wire.StreamFetch:
			u.state = uniVerdict
			if !d.post(evFetchStream{u.sid, u.in.fetch}) {
				return nil, nil
			}
		}
	}
	switch u.state {
	case uniControl:
		if u.buf == nil {
			u.buf = make([]byte, controlReadSize)
		}
		return nil, wouldBlock(d.read(u.sid, u.recv, u.buf))
	case uniPadding:
		_, err := io.Copy(io.Discard, readerOf{u.recv}) // all of it, by section 11.5.1, however it ends
		return nil, wouldBlock(err)
	}
	if u.in.kind == wire.StreamFetch {
		return d.readFetch(u)
	}
	return d.readSubgroup(u)
}

// wouldBlock returns err if it is ErrWouldBlock, else nil: however else a stream
// ends, it is over.
func wouldBlock(err error) error {
	if errors.Is(err, ErrWouldBlock) {
		return err
	}
	return nil
}

// readHeader reads until it is known what the stream is. Otherwise it returns
// what to tell the core, or why reading has ended.
func (d *driver) readHeader(u *uni) (event, error) {
	if !d.now().Before(u.until) { // only Step comes here late
		u.recv.CancelRead(wire.ResetCancelled)
		return nil, io.EOF
	}
	_ = u.recv.SetReadDeadline(u.until) // Read tells what is wrong
	buf := make([]byte, 2<<10)
	for {
		n, err := u.recv.Read(buf)
		known, perr := u.in.feed(buf[:n])
		switch {
		case perr != nil:
			return evViolation{perr}, perr
		case known:
			_ = u.recv.SetReadDeadline(time.Time{})
			return nil, nil
		case errors.Is(err, io.EOF) && u.in.cut():
			return evViolation{violation("stream ends inside its header")}, err
		case errors.Is(err, ErrWouldBlock):
			return nil, err
		case err != nil:
			u.recv.CancelRead(wire.ResetCancelled) // it may be the deadline
			return nil, err
		}
	}
}

// readSubgroup fills a track from a data stream, once the core has said which.
func (d *driver) readSubgroup(u *uni) (event, error) {
	if u.state == uniVerdict {
		v, err := d.verdict(u)
		if err != nil || v.w == nil {
			return nil, err
		}
		u.w, u.state = v.w, uniFill
		if d.steps != nil {
			u.stalls = d.now().Add(d.s.cfg.Limits.StreamStall)
		}
	}
	rest := u.in.rest
	u.in.rest = nil
	err := fill(u.w, rest, patient{d, u})
	if errors.Is(err, ErrWouldBlock) {
		if !u.w.Partial() || d.now().Before(u.stalls) {
			return nil, err
		}
		err = errStalled
		u.w.Abort(stopCode(err))
	}
	if err != nil {
		d.stopUni(u.recv, stopCode(err))
		d.s.cfg.Log.Debug("data stream stopped", "group", u.in.header.Group, "err", err)
	}
	return evSubgroupEnd{u.sid, err}, nil
}

// stopUni stops a data stream that is not taken, or not any more.
func (d *driver) stopUni(recv ReceiveStream, code wire.ResetCode) {
	if code == wire.ResetExcessiveLoad {
		d.s.met.counted.WithLabelValues(kindStream, outcomeLimited).Inc()
	}
	recv.CancelRead(code)
}

// verdict returns what a data stream is to fill.
func (d *driver) verdict(u *uni) (verdict, error) {
	if d.steps != nil {
		select {
		case v := <-u.verdict:
			return v, nil
		default:
			return verdict{}, ErrWouldBlock
		}
	}
	select {
	case v := <-u.verdict:
		return v, nil
	case <-d.ctx.Done(): // the loop is over, and says nothing more
		select {
		case v := <-u.verdict: // which has to be ended all the same
			return v, nil
		default:
			return verdict{}, nil
		}
	}
}

// readFetch fills a hole in a track from a data stream, once the core has said
// which.
func (d *driver) readFetch(u *uni) (event, error) {
	if u.state == uniVerdict {
		v, err := d.verdict(u)
		if err != nil || v.sink == nil {
			return nil, err
		}
		u.sink, u.state, u.buf = v.sink, uniFill, make([]byte, fetchReadSize)
	}
	rest := u.in.rest
	u.in.rest = nil
	err := u.sink.fill(rest, paced{d, u}, u.buf)
	if errors.Is(err, ErrWouldBlock) {
		return nil, err
	}
	if err != nil {
		d.stopUni(u.recv, stopCode(err))
		d.s.cfg.Log.Debug("fetch stopped", "request", u.in.fetch.RequestID, "err", err)
	}
	return evFetchEnd{u.sid, err}, nil
}

// bind opens the subgroup that a data stream fills. The loop does it, so that
// subgroups are opened in the order in which the core knows them.
func (d *driver) bind(a actBind) {
	u := d.unis[a.sid]
	if u == nil {
		return
	}
	w, err := a.t.Subgroup(track.HeaderFromWire(a.header))
	if err != nil {
		d.stopUni(u.recv, stopCode(err))
		d.s.call(evSubgroupEnd{a.sid, err})
		w = nil
	}
	u.verdict <- verdict{w: w}
}

// readerOf hides that a stream can do more than read.
type readerOf struct{ r ReceiveStream }

func (r readerOf) Read(p []byte) (int, error) { return r.r.Read(p) }
