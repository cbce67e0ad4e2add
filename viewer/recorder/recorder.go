package recorder

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
)

var (
	// ErrHeaderChanged reports a track with another header, or a track too
	// many, in a recording that cannot go on in another file.
	ErrHeaderChanged = errors.New("recorder: a track's header changed, and this output cannot hold two")
	// ErrNothing reports a recording that ended before any media came.
	ErrNothing = errors.New("recorder: no media came")
	// ErrClosed reports a call after Close.
	ErrClosed = errors.New("recorder: closed")
)

// Bounds on what waits for the tracks of a file to be known.
const (
	maxHoldMedia = 2 * time.Second
	maxHoldBytes = 32 << 20
	maxTracks    = 32
)

// A Config configures a Recorder. The zero value is ready to use.
type Config struct {
	// SyncEvery is the longest that written media may wait to be synced to the
	// disk. Zero means 1 s; below 0 nothing is synced.
	SyncEvery time.Duration
	// Log takes what is worth a line. Nil discards it.
	Log *slog.Logger
}

// A Recorder is a cmaf.Broadcast that writes one recording. Calls come from one
// goroutine. After an error everything fails with it; what was written before
// stays playable.
type Recorder struct {
	cfg  Config
	log  *slog.Logger
	open func(n int) (*part, error) // opens file n of the recording, from 1

	tracks []*recTrack
	part   *part // nil: no header is written yet
	parts  int
	held   []heldChunk // waits for the next file
	bytes  int         // held
	shift  int64       // seconds taken off every time
	based  bool        // shift is fixed

	files  []string
	first  cmaf.Time // earliest decode time, as it came
	end    cmaf.Time // where the latest chunk ends
	chunks int
	buf    []byte
	err    error
	closed bool
}

// recTrack is one track of a recording.
type recTrack struct {
	name   string
	header cmaf.Header
	open   bool
	id     uint32 // track ID in the file being written; 0: not in it
}

type heldChunk struct {
	track *recTrack
	chunk cmaf.Chunk
}

// Create returns a Recorder to the file path, which it creates or empties. A
// path that is no regular file, such as a pipe, is written to like any Writer.
func Create(path string, cfg Config) (*Recorder, error) { return create(path, cfg, osFS{}) }

func create(path string, cfg Config, fs fileSystem) (*Recorder, error) {
	f, regular, err := fs.create(path, false)
	if err != nil {
		return nil, fmt.Errorf("recorder: create: %w", err)
	}
	r := newRecorder(cfg)
	if !regular {
		r.open = r.single(f, path)
		return r, nil
	}
	r.files = []string{path}
	r.open = func(n int) (*part, error) {
		if n == 1 {
			return newPart(f, path, r.cfg.SyncEvery), nil
		}
		f, name, err := createNext(fs, path, n)
		if err != nil {
			return nil, err
		}
		r.files = append(r.files, name)
		r.log.Info("recording goes on in another file", "file", name)
		return newPart(f, name, r.cfg.SyncEvery), nil
	}
	return r, nil
}

// NewWriter returns a Recorder that writes to w, which it neither syncs nor
// closes.
func NewWriter(w io.Writer, cfg Config) *Recorder {
	r := newRecorder(cfg)
	r.open = r.single(writerFile{w}, "output")
	return r
}

func newRecorder(cfg Config) *Recorder {
	if cfg.SyncEvery == 0 {
		cfg.SyncEvery = time.Second
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Recorder{cfg: cfg, log: cfg.Log}
}

// single opens f as the only file of the recording.
func (r *Recorder) single(f file, name string) func(int) (*part, error) {
	return func(n int) (*part, error) {
		if n > 1 {
			return nil, ErrHeaderChanged
		}
		return newPart(f, name, -1), nil
	}
}

// Files returns the paths of the recording's files.
func (r *Recorder) Files() []string { return slices.Clone(r.files) }

// Duration returns how much media time the recording spans.
func (r *Recorder) Duration() time.Duration { return r.end.Sub(r.first).Duration() }

// Chunks returns how many chunks were written.
func (r *Recorder) Chunks() int { return r.chunks }

// AddTrack starts a track, or goes on with the one that has this name.
func (r *Recorder) AddTrack(name string, h cmaf.Header) (cmaf.Sink, error) {
	if err := r.fault(); err != nil {
		return nil, err
	}
	for _, t := range r.tracks {
		if t.name != name {
			continue
		}
		if t.id != 0 && !bytes.Equal(t.header.Init, h.Init) {
			t.id = 0
		}
		t.header, t.open = h, true
		return &sink{r, t}, nil
	}
	if len(r.tracks) >= maxTracks {
		return nil, fmt.Errorf("recorder: more than %d tracks", maxTracks)
	}
	t := &recTrack{name: name, header: h, open: true}
	r.tracks = append(r.tracks, t)
	return &sink{r, t}, nil
}

// Event is not recorded.
func (r *Recorder) Event(cmaf.Event) error { return nil }

// Discontinuity changes nothing: the times of the chunks say it.
func (r *Recorder) Discontinuity(string) {}

// Anchor is not recorded.
func (r *Recorder) Anchor(cmaf.Time, time.Time) {}

// Close ends the recording, whatever the reason: it writes what waits and an
// index, and syncs. Its error is what went wrong with the recording, now or
// before; ErrNothing if there is none.
func (r *Recorder) Close(error) error {
	if r.closed {
		return ErrClosed
	}
	r.closed = true
	if r.err == nil && len(r.held) > 0 {
		r.next()
	}
	if r.part == nil {
		r.parts++
		p, err := r.open(r.parts) // never written to; release it
		if err == nil {
			r.fail(p.close(nil))
		}
		r.fail(err)
		r.fail(ErrNothing)
		return r.err
	}
	r.fail(r.part.close(r.err))
	return r.err
}

func (r *Recorder) fault() error {
	if r.err == nil && r.closed {
		return ErrClosed
	}
	return r.err
}

// fail keeps the first error.
func (r *Recorder) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

type sink struct {
	r *Recorder
	t *recTrack
}

// WriteChunk records c.
func (s *sink) WriteChunk(c cmaf.Chunk) error {
	r, t := s.r, s.t
	if err := r.fault(); err != nil {
		return err
	}
	cut := c.RAP && t.header.Kind == cmaf.KindVideo
	switch {
	case t.id != 0 && r.beforeStart(t, c):
		r.based = false // the next file starts earlier
		r.hold(t, c)
		r.next()
	case t.id == 0:
		r.hold(t, c)
		if r.ready() {
			r.next()
		}
	case cut && r.part != nil && len(r.held) > 0:
		r.held = slices.Insert(r.held, 0, heldChunk{t, c})
		r.next()
	default:
		r.write(t, c)
	}
	return r.err
}

// Close ends the track.
func (s *sink) Close() error {
	s.t.open = false
	return s.r.err
}

// hold keeps c for the next file.
func (r *Recorder) hold(t *recTrack, c cmaf.Chunk) {
	r.held = append(r.held, heldChunk{t, c})
	r.bytes += len(c.Data)
}

// ready reports whether the next file can begin, after the chunk that came
// last. The first one begins when every track has brought a chunk. Another one
// begins with video, so that it does not open with pictures that nobody can
// decode.
func (r *Recorder) ready() bool {
	low, high := span(r.held)
	if r.bytes > maxHoldBytes || high.Sub(low).Duration() > maxHoldMedia {
		return true
	}
	if r.part != nil {
		t := r.held[len(r.held)-1].track
		return t.header.Kind == cmaf.KindVideo || !slices.ContainsFunc(r.tracks, func(t *recTrack) bool {
			return t.open && t.header.Kind == cmaf.KindVideo
		})
	}
	return !slices.ContainsFunc(r.tracks, func(t *recTrack) bool {
		return t.open && !slices.ContainsFunc(r.held, func(h heldChunk) bool { return h.track == t })
	})
}

// span returns the earliest decode time of held, and its latest end.
func span(held []heldChunk) (low, high cmaf.Time) {
	for i, h := range held {
		from := cmaf.Time{Ticks: h.chunk.DecodeTime, Scale: h.track.header.Timescale}
		to := cmaf.Time{Ticks: h.chunk.End(), Scale: h.track.header.Timescale}
		if i == 0 || from.Before(low) {
			low = from
		}
		if i == 0 || high.Before(to) {
			high = to
		}
	}
	return low, high
}

// beforeStart reports whether c lies before time 0 of the file.
func (r *Recorder) beforeStart(t *recTrack, c cmaf.Chunk) bool {
	return c.DecodeTime < r.shift*int64(t.header.Timescale)
}

// next ends the file being written, begins the next one with every track that
// is open or has media waiting, and writes what waits.
func (r *Recorder) next() {
	if r.part != nil {
		r.fail(r.part.close(nil))
	}
	held := r.held
	r.held, r.bytes = nil, 0
	if r.err != nil {
		return
	}
	if !r.based {
		low, _ := span(held)
		r.shift, r.based = floorSeconds(low), true
	}
	var headers []cmaf.Header
	for _, t := range r.tracks {
		t.id = 0
		if t.open || slices.ContainsFunc(held, func(h heldChunk) bool { return h.track == t }) {
			headers = append(headers, t.header)
			t.id = uint32(len(headers))
		}
	}
	header, err := cmaf.BuildInit(headers)
	if err != nil {
		r.fail(fmt.Errorf("recorder: %w", err))
		return
	}
	r.parts++
	if r.part, err = r.open(r.parts); err != nil {
		r.part = nil
		r.fail(err)
		return
	}
	r.fail(r.part.write(header, false))
	for _, h := range held {
		if r.err == nil {
			r.write(h.track, h.chunk)
		}
	}
}

// write appends c to the file.
func (r *Recorder) write(t *recTrack, c cmaf.Chunk) {
	from := cmaf.Time{Ticks: c.DecodeTime, Scale: t.header.Timescale}
	if r.chunks == 0 || from.Before(r.first) {
		r.first = from
	}
	if end := (cmaf.Time{Ticks: c.End(), Scale: from.Scale}); r.chunks == 0 || r.end.Before(end) {
		r.end = end
	}
	c.DecodeTime -= r.shift * int64(t.header.Timescale)
	if c.DecodeTime < 0 {
		r.fail(fmt.Errorf("recorder: track %q: time %v lies before the start of the recording", t.name, from))
		return
	}
	group := c.RAP && t.header.Kind == cmaf.KindVideo
	if group {
		r.part.index(t.id, c.PTS())
	}
	r.chunks++
	r.part.sequence++
	r.buf = c.AppendTo(r.buf[:0], t.id, r.part.sequence)
	r.fail(r.part.write(r.buf, group))
}

// floorSeconds returns the whole seconds of t, rounded down.
func floorSeconds(t cmaf.Time) int64 {
	if t.Scale == 0 {
		return 0
	}
	s := t.Ticks / int64(t.Scale)
	if t.Ticks < 0 && s*int64(t.Scale) != t.Ticks {
		s--
	}
	return s
}

// isRegular reports whether f is a file that can be synced and truncated.
func isRegular(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular()
}
