package run

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/broadcastd/broadcastd/bench/load"
	"github.com/broadcastd/broadcastd/bench/proc"
	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/viewer/recorder"
)

// maxRecorded bounds what a recorder writes to the disk in one run, and each that
// it is compared with.
const maxRecorded = 1 << 30

// work does some work for as long as the arm says and reports it. What comes after
// it adds to the report.
func (c *child) work(ctx context.Context, step func(*Work) error, last func() error, after func(*Work) error) error {
	if err := c.out.Encode(message{Event: eventReady, Pid: os.Getpid()}); err != nil {
		return err
	}
	if _, err := c.begin(ctx); err != nil {
		return err
	}
	w, err := c.spend(ctx, step, last)
	if err != nil {
		return err
	}
	if err := after(&w); err != nil {
		return err
	}
	if err := c.out.Encode(message{Event: eventDone, Work: &w}); err != nil {
		return err
	}
	return c.idle(ctx)
}

// spend takes steps for as long as the arm says, then the last one, between
// readings of this process's CPU time.
func (c *child) spend(ctx context.Context, step func(*Work) error, last func() error) (w Work, err error) {
	began, err := proc.Read(os.Getpid())
	if err != nil {
		return w, err
	}
	for time.Since(began.At) < c.job.Arm.Duration && w.Bytes < maxRecorded {
		if ctx.Err() != nil {
			return w, context.Cause(ctx)
		}
		if err := step(&w); err != nil {
			return w, err
		}
	}
	if err := last(); err != nil {
		return w, err
	}
	ended, err := proc.Read(os.Getpid())
	if err != nil {
		return w, err
	}
	w.Seconds, w.CPUSeconds = ended.At.Sub(began.At).Seconds(), ended.Since(began).Seconds()
	return w, nil
}

// A recording is the profile's chunks, given out a second of media at a time.
type recording struct {
	prof    load.Profile
	headers []cmaf.Header
	data    [][]byte
	sent    []int
	seconds int
}

func newRecording(ctx context.Context, prof load.Profile) (*recording, error) {
	list, err := load.Headers(ctx, prof)
	if err != nil {
		return nil, err
	}
	r := &recording{prof: prof, headers: list, sent: make([]int, len(prof.Tracks))}
	for _, t := range prof.Tracks {
		r.data = append(r.data, make([]byte, max(t.First, t.Size)))
	}
	return r, nil
}

// next gives write the chunks of the next second, each with its track's index.
func (r *recording) next(w *Work, write func(track int, c cmaf.Chunk) error) error {
	r.seconds++
	for i, t := range r.prof.Tracks {
		for end := t.Before(time.Duration(r.seconds) * time.Second); r.sent[i] < end; r.sent[i]++ {
			size := r.prof.Size(t, r.sent[i])
			if err := write(i, t.Chunk(r.sent[i], r.headers[i].Timescale, r.data[i][:size], size != t.Size)); err != nil {
				return err
			}
			w.Bytes += int64(size)
		}
	}
	return nil
}

// record gives a recorder the profile's chunks as fast as it takes them, then
// measures what writing as much costs at least.
func (c *child) record(ctx context.Context, prof load.Profile) (err error) {
	media, err := newRecording(ctx, prof)
	if err != nil {
		return err
	}
	// A virtual machine pays for memory that it touches first, which is more than
	// a write costs. So let the page cache have it, and each give back what it had.
	buf := make([]byte, 1<<20)
	bulk := func(f *os.File, w *Work) error {
		n, err := f.Write(buf[:128<<10])
		w.Bytes += int64(n)
		return err
	}
	if _, err := c.write(ctx, bulk); err != nil {
		return err
	}
	name := filepath.Join(c.job.Dir, "bench.mp4")
	rec, err := recorder.Create(name, recorder.Config{})
	if err != nil {
		return err
	}
	end := sync.OnceValue(func() error { return rec.Close(nil) })
	defer func() { err = errors.Join(err, end()) }()
	var sinks []cmaf.Sink
	for i, t := range prof.Tracks {
		s, err := rec.AddTrack(t.Name, media.headers[i])
		if err != nil {
			return err
		}
		sinks = append(sinks, s)
	}
	return c.work(ctx, func(w *Work) error {
		return media.next(w, func(i int, ch cmaf.Chunk) error { return sinks[i].WriteChunk(ch) })
	}, end, func(w *Work) error {
		if err := os.Remove(name); err != nil {
			return err
		}
		one, err := c.write(ctx, func(f *os.File, w *Work) error {
			return media.next(w, func(_ int, ch cmaf.Chunk) error {
				_, err := f.Write(buf[:ch.Size()])
				return err
			})
		})
		if err != nil {
			return err
		}
		big, err := c.write(ctx, bulk)
		w.WriteCPU, w.BulkCPU = one.perGB(), big.perGB()
		return err
	})
}

// perGB returns the CPU seconds for each gigabyte.
func (w Work) perGB() float64 { return w.CPUSeconds / (float64(w.Bytes) / 1e9) }

// write measures step, which writes to a file that is synced each second.
func (c *child) write(ctx context.Context, step func(*os.File, *Work) error) (w Work, err error) {
	f, err := os.OpenFile(filepath.Join(c.job.Dir, "bench.raw"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o600)
	if err != nil {
		return w, err
	}
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		var err error
		for tick := time.NewTicker(time.Second); err == nil; err = f.Sync() {
			select {
			case <-tick.C:
			case <-stop:
				tick.Stop()
				stopped <- nil
				return
			}
		}
		stopped <- err
	}()
	w, err = c.spend(ctx, func(w *Work) error { return step(f, w) }, f.Sync)
	close(stop)
	return w, errors.Join(err, <-stopped, f.Close(), os.Remove(f.Name()))
}
