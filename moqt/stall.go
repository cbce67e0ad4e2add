package moqt

import (
	"errors"
	"io"
	"time"
)

// errStalled reports that a data stream stood still inside an object for too
// long. The draft would let the session be closed for it (DATA_STREAM_TIMEOUT,
// section 3.5); but a stream of low priority starves where there is too little
// bandwidth, which is no fault of the session, so that only this stream is
// stopped. Between two objects a stream may rest as long as it likes.
var errStalled = errors.New("moqt: data stream stalls inside an object")

// A patient reads a data stream and ends it with errStalled when an object has
// begun and does not go on.
type patient struct {
	d *driver
	u *uni
}

func (r patient) Read(p []byte) (int, error) {
	stall := r.d.s.cfg.Limits.StreamStall
	for {
		// Moving a deadline costs something, so it is not moved for every read.
		if now := r.d.now(); r.u.stalls.Sub(now) < stall/2 && r.d.steps == nil {
			r.u.stalls = now.Add(stall)
			_ = r.u.recv.SetReadDeadline(r.u.stalls)
		}
		n, err := r.u.recv.Read(p)
		switch {
		case n > 0 && r.d.steps != nil:
			r.u.stalls = r.d.now().Add(stall)
			return n, err
		case n > 0 || err == nil || errors.Is(err, io.EOF) || r.d.steps != nil || ended(err) || r.d.now().Before(r.u.stalls):
			return n, err
		case r.u.w.Partial():
			return 0, errStalled
		}
		r.u.stalls = time.Time{} // it rests between two objects
	}
}

// ended reports whether err says that a stream or its session is over.
func ended(err error) bool {
	_, stream := errors.AsType[*StreamError](err)
	_, session := errors.AsType[*SessionError](err)
	return stream || session
}
