package moqt

import (
	"bytes"
	"errors"
	"io"
)

// This file is the goroutines that wait for the connection under Run.

// spawn runs f in a goroutine that Run waits for.
func (d *driver) spawn(f func()) { d.wg.Go(f) }

// post hands ev to the loop. It reports false once the session is over.
func (d *driver) post(ev event) bool {
	if d.steps != nil {
		d.steps.queue = append(d.steps.queue, ev)
		return true
	}
	select {
	case d.events <- ev:
		d.s.nudge()
		return true
	case <-d.ctx.Done():
		return false
	}
}

func (d *driver) acceptStreams() {
	for {
		st, err := d.s.conn.AcceptStream(d.ctx)
		if err != nil || !d.post(drvAccepted{st}) {
			return // the connection's context tells
		}
	}
}

func (d *driver) acceptUniStreams() {
	for {
		st, err := d.s.conn.AcceptUniStream(d.ctx)
		if err != nil || !d.post(drvAcceptedUni{st}) {
			return
		}
	}
}

func (d *driver) readDatagrams() {
	for {
		b, err := d.s.conn.ReceiveDatagram(d.ctx)
		if err != nil || !d.post(evDatagram{b}) {
			return
		}
	}
}

// read passes on what comes on a request or control stream, in pieces of buf. It
// returns why that is over, or ErrWouldBlock where Read does not wait.
func (d *driver) read(sid streamID, recv ReceiveStream, buf []byte) error {
	for {
		n, err := recv.Read(buf)
		if n > 0 && !d.post(evBytes{sid, bytes.Clone(buf[:n])}) {
			return io.EOF // the loop is over
		}
		if errors.Is(err, io.EOF) {
			d.post(evFin{sid})
		}
		if se, ok := errors.AsType[*StreamError](err); ok && se.Remote {
			d.post(evReset{sid, se.Code})
		}
		if err != nil {
			return err
		}
	}
}

// How much is read at a time of a request stream, whose first message is the
// largest, and of the control stream, whose reader mostly waits.
const (
	readSize        = 1 << 10
	controlReadSize = 256
)
