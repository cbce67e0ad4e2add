package fmp4

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/ingest"
)

var (
	errIdle = errors.New("fmp4: too few bytes came for too long")
	errGone = errors.New("fmp4: the sender has left")
)

// A body is one request being read.
type body struct {
	h          *Handler
	rc         *http.ResponseController
	r          *http.Request
	name, file string

	in     *input
	cancel chan struct{} // closed when a newer body of the same rendition came

	mu      sync.Mutex
	stopped error // why reading has to stop; set once
}

// serve reads the body to its end and returns the answer.
func (b *body) serve() (status int, text string) {
	err := b.read()
	log := b.h.cfg.Log.With("broadcast", b.name, "remote", b.r.RemoteAddr)
	if b.in != nil && b.in.conn.SessionID() != "" {
		log = log.With("session", b.in.conn.SessionID())
	}
	status, text = answer(err)
	switch {
	case status >= 500:
		log.Error("ingest failed", "err", err)
	case err != nil:
		log.Info("ingest ended", "status", status, "err", err)
	default:
		log.Debug("ingest body ended")
	}
	return status, text
}

func (b *body) read() error {
	in := bufio.NewReaderSize(readerFunc(b.readBody), bufferSize)
	b.extend()
	head, err := in.Peek(8)
	if len(head) == 0 {
		return ignoreEOF(err) // a request that only tries the connection
	}
	header, known := begins(head)
	if !known {
		// It must not get as far as making the one that sends leave.
		if _, err := cmaf.NewDemuxer(nil, cmaf.DemuxerConfig{}).Write(head); err != nil {
			return err
		}
		return &cmaf.BoxError{Box: "header", Reason: "the body does not begin with a box of a fragmented MP4 stream"}
	}
	if b.in, err = b.h.input(b.name, b.peer(), header && b.file == ""); err != nil {
		return err
	}
	err = b.feed(in, header)
	if err == nil {
		b.h.adopt(b.in) // also a header alone, whose segments come in the next requests
	}
	if b.in.leave(err == nil) {
		b.h.forget(b.in)
	}
	return err
}

// peer returns who sends the body.
func (b *body) peer() ingest.Peer {
	p := ingest.Peer{Addr: b.r.RemoteAddr, Protocol: "fmp4", UserAgent: b.r.UserAgent(), Encrypted: b.r.TLS != nil}
	if b.h.cfg.Stats != nil {
		p.Stats = b.h.cfg.Stats(b.r)
	}
	return p
}

// feed gives the body to the demuxer of its rendition.
func (b *body) feed(in *bufio.Reader, header bool) error {
	k, seq := key(b.file)
	rd, err := b.find(k, header)
	if err != nil {
		return err
	}
	release, err := b.take(rd, seq)
	if err != nil {
		return err
	}
	defer release()
	err = b.copy(in, rd.demux)
	if end := rd.demux.EndBody(); err == nil {
		err = end
	}
	return err
}

// begins reports whether a body that starts with head has a header, a moov or
// the ftyp before it, and whether it can be a stream at all.
func begins(head []byte) (header, known bool) {
	if len(head) < 8 {
		return false, true // the demuxer says what is missing
	}
	switch string(head[4:8]) {
	case "ftyp", "moov":
		return true, true
	case "styp", "moof", "sidx", "ssix", "prft", "emsg", "free", "skip", "uuid", "mdat", "mfra", "pdin":
		return false, true
	}
	return false, false
}

// patience is how long a body waits for those that should come before it: a
// segmenter opens the next connection before the last one is read. Beyond that,
// the sender has lost the old connection.
const patience = time.Second

// find finds the rendition; a segment may overtake its header.
func (b *body) find(k string, header bool) (*rendition, error) {
	for end := time.Now().Add(patience); ; {
		left := time.Until(end)
		rd, err := b.in.rendition(k, header, b.file != "" && left > 0, b.h.cfg.Demuxer)
		if !errors.Is(err, errConflict) || left <= 0 {
			return rd, err
		}
		b.in.mu.Lock()
		wanted := b.in.wait(left, b.r.Context().Done())
		b.in.mu.Unlock()
		if !wanted {
			return nil, b.over()
		}
	}
}

// over says why a body that waited has to leave.
func (b *body) over() error {
	if err := b.in.conn.Err(); err != nil {
		return err
	}
	return errGone
}

// take waits for the rendition: for the body that has it, and for the segment
// before this one, if they are numbered. One that stays is made to leave.
func (b *body) take(rd *rendition, seq int64) (release func(), err error) {
	in := b.in
	in.mu.Lock()
	defer in.mu.Unlock()
	for end := time.Now().Add(patience); ; {
		left := time.Until(end)
		inOrder := seq < 0 || rd.last < 0 || seq <= rd.last+1 || left <= 0
		if !rd.busy && inOrder {
			break
		}
		if left <= 0 {
			if rd.evict != nil {
				rd.evict()
			}
			left = patience
		}
		if !in.wait(left, b.r.Context().Done()) {
			return nil, b.over()
		}
	}
	b.extend()
	b.cancel = make(chan struct{})
	rd.busy, rd.begun, rd.evict = true, true, sync.OnceFunc(func() { close(b.cancel) })
	stop := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() { b.watch(stop) })
	return func() {
		close(stop)
		watch.Wait()
		in.mu.Lock()
		defer in.mu.Unlock()
		rd.busy, rd.evict = false, nil
		if seq >= 0 {
			rd.last = seq
		}
		in.change()
	}, nil
}

// watch stops the reading when somebody else takes over.
func (b *body) watch(stop <-chan struct{}) {
	select {
	case <-stop:
	case <-b.cancel:
		b.stop(ingest.ErrReplaced)
	case <-b.in.conn.Done():
		b.stop(b.in.conn.Err())
	}
}

// stop makes a Read under way return, and the next one fail.
func (b *body) stop(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stopped = err
	b.rc.SetReadDeadline(time.Now()) //nolint:errcheck // a test's recorder has none, and does not block
}

// extend gives the next minProgress bytes their time.
func (b *body) extend() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped == nil {
		b.rc.SetReadDeadline(time.Now().Add(b.h.cfg.Idle)) //nolint:errcheck // as in stop
	}
}

func (b *body) why() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stopped
}

// readBody reads from the request and says in our words why it failed.
func (b *body) readBody(p []byte) (int, error) {
	n, err := b.r.Body.Read(p)
	b.h.metrics.bytes.Add(float64(n))
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return n, err
	case b.why() != nil:
		return n, b.why()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, fmt.Errorf("%w: less than %d bytes in %v", errIdle, minProgress, b.h.cfg.Idle)
	}
	if _, ok := errors.AsType[net.Error](err); ok || errors.Is(err, io.ErrUnexpectedEOF) || b.r.Context().Err() != nil {
		return n, errGone
	}
	return n, fmt.Errorf("%w: %w", errGone, err)
}

// copy feeds the demuxer, as fast as MaxRate allows.
func (b *body) copy(in *bufio.Reader, demux *cmaf.Demuxer) error {
	buf := make([]byte, bufferSize)
	var progress int
	adopted := false
	pace := newBucket(b.h.cfg.MaxRate)
	for {
		n, err := in.Read(buf)
		if n > 0 {
			if progress += n; progress >= minProgress {
				progress = 0
				b.extend()
			}
			if _, werr := demux.Write(buf[:n]); werr != nil {
				return werr
			}
			if !adopted && b.in.conn.Joined() {
				adopted = true
				b.h.adopt(b.in)
			}
			if werr := b.sleep(pace.take(time.Now(), n)); werr != nil {
				return werr
			}
		}
		if err != nil {
			return ignoreEOF(err)
		}
	}
}

// sleep waits for d, unless the reading has to stop.
func (b *body) sleep(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		b.extend() // the sender could not send while we did not read
		return nil
	case <-b.cancel:
		return ingest.ErrReplaced
	case <-b.in.conn.Done():
		return b.in.conn.Err()
	case <-b.r.Context().Done():
		return errGone
	}
}

// A bucket limits a rate of bytes, with a second's worth in one go.
type bucket struct {
	rate float64 // bytes per second
	left float64
	at   time.Time
}

func newBucket(rate int) *bucket { return &bucket{rate: float64(rate), left: float64(rate)} }

// take takes n bytes at now and returns how long to wait before the next.
func (k *bucket) take(now time.Time, n int) time.Duration {
	if !k.at.IsZero() {
		k.left = min(k.rate, k.left+now.Sub(k.at).Seconds()*k.rate)
	}
	k.at = now
	if k.left -= float64(n); k.left >= 0 {
		return 0
	}
	return time.Duration(-k.left / k.rate * float64(time.Second))
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
