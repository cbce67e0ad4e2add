package moqt

import (
	"errors"
	"io"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// An inbound finds out what a unidirectional stream of the peer carries. It is
// a step function like the core.
type inbound struct {
	kind   wire.StreamType
	header wire.SubgroupHeader // of a subgroup stream
	fetch  wire.FetchHeader    // of a stream that answers a FETCH
	// rest are the bytes behind the header, for a control stream those from
	// its type on.
	rest []byte
	head []byte
}

// feed takes the next bytes of the stream, until it reports that the kind, and
// for objects the header, is known.
func (in *inbound) feed(b []byte) (known bool, err error) {
	in.head = append(in.head, b...)
	kind, n, err := wire.ParseStreamType(in.head)
	switch {
	case errors.Is(err, wire.ErrShort):
		return false, nil
	case err != nil:
		return false, err
	case kind == wire.StreamControl:
		n = 0
	case kind == wire.StreamSubgroup:
		in.header, n, err = wire.ParseSubgroupHeader(in.head)
		if errors.Is(err, wire.ErrShort) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	case kind == wire.StreamFetch:
		in.fetch, n, err = wire.ParseFetchHeader(in.head)
		if errors.Is(err, wire.ErrShort) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
	}
	in.kind, in.rest, in.head = kind, in.head[n:], nil
	return true, nil
}

// cut reports whether the stream has begun and may not end here.
func (in *inbound) cut() bool { return len(in.head) > 0 }

// fill writes a subgroup stream into w, first what was read of it, then what r
// yields, and ends w as the stream ends: completely after FIN, else cut. The
// error is one that w reports; a stream that was reset is none. Where r does not
// wait it may be ErrWouldBlock: fill goes on when it is called again.
func fill(w *track.SubgroupWriter, rest []byte, r io.Reader) error {
	_, err := w.Write(rest)
	if err == nil {
		_, err = w.ReadFrom(r)
	}
	if err == nil {
		return w.Close()
	}
	if errors.Is(err, ErrWouldBlock) {
		return err
	}
	if se, ok := errors.AsType[*StreamError](err); ok {
		w.Abort(se.Code)
		return nil
	}
	if _, ok := errors.AsType[*SessionError](err); ok {
		w.Abort(wire.ResetSessionClosed)
		return nil
	}
	w.Abort(stopCode(err))
	return err
}

// stopCode returns what to stop a data stream with that a track did not take.
func stopCode(err error) wire.ResetCode {
	switch {
	case errors.Is(err, wire.ErrMalformedTrack):
		return wire.ResetMalformedTrack
	case errors.Is(err, errStalled):
		return wire.ResetDeliveryTimeout
	case errors.Is(err, track.ErrTooOld):
		return wire.ResetTooFarBehind
	case errors.Is(err, track.ErrLimit):
		return wire.ResetExcessiveLoad
	}
	return wire.ResetCancelled
}
