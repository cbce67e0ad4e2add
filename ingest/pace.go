package ingest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
)

// Paced returns a Source that feeds what src reads in real time, as a live
// encoder would: for files. Chunks of all tracks go out in the order of their
// decode times, however the file interleaves them. Wall times of the file are
// left out, because they are those of another day.
func Paced(src Source) Source { return pacedSource{src} }

type pacedSource struct{ src Source }

// What a pacer may hold: enough to bring tracks into order that a file
// interleaves by fragments of some seconds.
const (
	paceAhead = 10 * time.Second
	paceBytes = 64 << 20
)

// Run implements Source.
func (p pacedSource) Run(ctx context.Context, b cmaf.Broadcast) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	q := &pacer{ctx: ctx, out: b, changed: make(chan struct{})}
	read := make(chan error, 1)
	go func() {
		err := p.src.Run(ctx, q)
		q.finish()
		read <- err
	}()
	err := q.emit()
	cancel(err)
	return errors.Join(err, ignoreCause(<-read, err))
}

// ignoreCause returns nil for an error that only passes on another one.
func ignoreCause(err, cause error) error {
	if cause != nil && errors.Is(err, cause) {
		return nil
	}
	return err
}

// A pacer is a Broadcast whose chunks wait for their time. The reader calls
// its methods, one goroutine calls emit.
type pacer struct {
	ctx context.Context
	out cmaf.Broadcast

	mu      sync.Mutex
	tracks  []*pacedTrack
	bytes   int
	done    bool
	changed chan struct{} // closed and replaced when any of this changes

	started bool      // base and start are set
	base    cmaf.Time // the decode time that went out at start
	start   time.Time
}

type pacedTrack struct {
	p     *pacer
	scale uint32
	sink  cmaf.Sink
	held  []cmaf.Chunk
}

func (p *pacer) change() {
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *pacer) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = true
	p.change()
}

// wait waits, with the lock held, until ok returns true.
func (p *pacer) wait(ok func() bool) error {
	for !ok() {
		changed := p.changed
		p.mu.Unlock()
		select {
		case <-changed:
			p.mu.Lock()
		case <-p.ctx.Done():
			p.mu.Lock()
			return context.Cause(p.ctx)
		}
	}
	return nil
}

func (p *pacer) empty() bool {
	return !slices.ContainsFunc(p.tracks, func(t *pacedTrack) bool { return len(t.held) > 0 })
}

// emit hands chunks on when they are due, until the reader is done.
func (p *pacer) emit() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		t, at := p.head()
		if t == nil {
			if p.done {
				return nil
			}
			if err := p.wait(func() bool { return p.done || !p.empty() }); err != nil {
				return err
			}
			continue
		}
		if !p.started {
			p.started, p.base, p.start = true, at, time.Now()
		}
		if wait := time.Until(p.start.Add(at.Sub(p.base).Duration())); wait > 0 {
			if err := p.sleep(wait); err != nil {
				return err
			}
			continue // an earlier one may have come meanwhile
		}
		c := t.held[0]
		t.held = slices.Delete(t.held, 0, 1)
		p.bytes -= len(c.Data)
		err := t.sink.WriteChunk(c) // does not wait: see cmaf.Sink
		p.change()
		if err != nil {
			return err
		}
	}
}

// sleep waits, with the lock held, for d or for a change.
func (p *pacer) sleep(d time.Duration) error {
	changed := p.changed
	p.mu.Unlock()
	defer p.mu.Lock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-changed:
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	}
	return nil
}

// head returns the track whose next chunk has the lowest decode time.
func (p *pacer) head() (least *pacedTrack, at cmaf.Time) {
	for _, t := range p.tracks {
		if len(t.held) == 0 {
			continue
		}
		if d := (cmaf.Time{Ticks: t.held[0].DecodeTime, Scale: t.scale}); least == nil || d.Before(at) {
			least, at = t, d
		}
	}
	return least, at
}

// drain waits, with the lock held, until all that came has gone out.
func (p *pacer) drain() error { return p.wait(p.empty) }

// AddTrack implements cmaf.Broadcast.
func (p *pacer) AddTrack(name string, h cmaf.Header) (cmaf.Sink, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.drain(); err != nil {
		return nil, err
	}
	sink, err := p.out.AddTrack(name, h)
	if err != nil {
		return nil, err
	}
	t := &pacedTrack{p: p, scale: h.Timescale, sink: sink}
	p.tracks = append(p.tracks, t)
	return t, nil
}

// Event implements cmaf.Broadcast.
func (p *pacer) Event(e cmaf.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Event(e)
}

// Discontinuity implements cmaf.Broadcast: what comes next goes out at once.
func (p *pacer) Discontinuity(reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.drain() != nil {
		return // the next chunk tells
	}
	p.started = false
	p.out.Discontinuity(reason)
}

// Anchor implements cmaf.Broadcast, and drops the wall time.
func (p *pacer) Anchor(cmaf.Time, time.Time) {}

// Close implements cmaf.Broadcast. Sources do not call it.
func (p *pacer) Close(reason error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(p.drain(), p.out.Close(reason))
}

// WriteChunk implements cmaf.Sink. It waits while too much is held.
func (t *pacedTrack) WriteChunk(c cmaf.Chunk) error {
	p := t.p
	p.mu.Lock()
	defer p.mu.Unlock()
	t.held = append(t.held, c)
	p.bytes += len(c.Data)
	p.change()
	return p.wait(func() bool { return p.bytes <= paceBytes && t.span() <= paceAhead })
}

// span returns how much media of the track is held.
func (t *pacedTrack) span() time.Duration {
	if len(t.held) == 0 {
		return 0
	}
	last := t.held[len(t.held)-1]
	return cmaf.Time{Ticks: last.End() - t.held[0].DecodeTime, Scale: t.scale}.Duration()
}

// Close implements cmaf.Sink.
func (t *pacedTrack) Close() error {
	p := t.p
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.drain(); err != nil {
		return err
	}
	p.tracks = slices.DeleteFunc(p.tracks, func(o *pacedTrack) bool { return o == t })
	return t.sink.Close()
}
