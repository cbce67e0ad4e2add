package fmp4

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/ingest"
)

var errConflict = errors.New("fmp4: no header for this segment")

// An input is one run of a sender: a connection of the session, and a demuxer
// for each of its renditions. It lives across requests, for as long as its
// session waits for the next one.
type input struct {
	name string
	conn *ingest.Conn

	mu         sync.Mutex
	changed    chan struct{} // closed and replaced when something below changes
	renditions map[string]*rendition
	active     int            // bodies being read
	segmented  bool           // a request carried a segment alone
	used       time.Time      // when active became 0
	good       bool           // a body ended well
	names      map[string]int // how many tracks of each kind are named
	starting   int            // renditions that have not added their tracks
	started    time.Time      // when the first one did

	repeated func(samples int) // see cmaf.DemuxerConfig
}

// A rendition is what one run of bodies brings: a stream with a demuxer of its
// own. Its fields are under the input's mutex.
type rendition struct {
	demux *cmaf.Demuxer
	busy  bool   // a body uses demux
	begun bool   // one with a header has, or one whose header did not come
	evict func() // makes that body leave; nil: none does
	added bool   // it has added its tracks
	last  int64  // number of the last segment; -1: none had one
}

// change tells whoever waits, with the lock held.
func (in *input) change() {
	close(in.changed)
	in.changed = make(chan struct{})
}

// idleInput is how long an input that never had media is kept, for a header
// that comes in a request of its own.
const idleInput = time.Minute

// key returns which rendition a path below /ingest/<name> belongs to: its name
// without extension, without the words that segmenters put in front, and for a
// segment without the number at the end. seq is that number, -1 if there is none.
func key(file string) (k string, seq int64) {
	dir, base := path.Split(file)
	base = strings.TrimSuffix(base, path.Ext(base))
	if rest, ok := strings.CutPrefix(base, "init"); ok {
		return dir + strings.TrimLeft(rest, "-_."), -1
	}
	for _, word := range []string{"chunk", "segment", "seg"} {
		if rest, ok := strings.CutPrefix(base, word); ok {
			base = strings.TrimLeft(rest, "-_.")
			break
		}
	}
	stem := strings.TrimRight(base, "0123456789")
	seq, err := strconv.ParseInt(base[len(stem):], 10, 64)
	if err != nil {
		seq = -1
	}
	if trimmed := strings.TrimRight(stem, "-_."); stem == "" || len(trimmed) < len(stem) {
		base = trimmed
	}
	return dir + base, seq
}

// input finds or makes the input that a body belongs to. A header for the
// whole input begins a new run. That run is not in the map before it shows that
// it is good, so that rubbish does not shut out the input that sends.
func (h *Handler) input(name string, peer ingest.Peer, fresh bool) (*input, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	for n, in := range h.inputs {
		if in.dead(now) {
			delete(h.inputs, n)
		}
	}
	in := h.inputs[name]
	if in == nil && len(h.inputs) >= h.cfg.MaxInputs {
		return nil, fmt.Errorf("%w inputs: at most %d", ingest.ErrTooMany, h.cfg.MaxInputs)
	}
	if in == nil || fresh || in.conn.Err() != nil {
		in = &input{
			name: name, conn: h.cfg.Sessions.Connect(name, peer), used: now,
			changed: make(chan struct{}), renditions: make(map[string]*rendition), names: make(map[string]int),
			repeated: h.repeated(name, peer.Addr),
		}
		if !fresh { // the renditions of one input may all come at once
			h.inputs[name] = in
		}
	}
	in.enter()
	return in, nil
}

// repeated returns what counts the samples of an input that come again, and
// says so once.
func (h *Handler) repeated(name, remote string) func(int) {
	say := sync.OnceFunc(func() {
		h.cfg.Log.Info("the encoder sends again what it sent; it is left out", "broadcast", name, "remote", remote)
	})
	return func(samples int) {
		h.metrics.repeated.Add(float64(samples))
		say()
	}
}

// adopt makes in the one that later segments of its name belong to.
func (h *Handler) adopt(in *input) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inputs[in.name] = in
}

// forget drops an input that came to nothing.
func (h *Handler) forget(in *input) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.inputs[in.name] == in {
		delete(h.inputs, in.name)
	}
}

func (in *input) dead(now time.Time) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.active > 0 {
		return false
	}
	return in.conn.Err() != nil || (!in.conn.Joined() && now.Sub(in.used) > idleInput)
}

func (in *input) enter() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.active++
}

// leave ends a body. The last one lets the session wait for what comes next,
// and reports whether nothing came of the input.
func (in *input) leave(good bool) (hopeless bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.good = in.good || good
	if in.active--; in.active > 0 {
		return false
	}
	in.used = time.Now()
	var extra time.Duration
	if in.segmented {
		extra = min(in.conn.Media(), maxSegment)
	}
	in.conn.Pause(extra)
	return !in.good && !in.conn.Joined()
}

// maxSegment bounds the wait for a segment on top of the grace.
const maxSegment = 20 * time.Second

// rendition finds or makes the rendition of a body that begins with a header,
// or not. A segment whose path says nothing known belongs to the only rendition
// there is; while it is early, its own header may be under way.
func (in *input) rendition(k string, header, early bool, cfg cmaf.DemuxerConfig) (*rendition, error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !header {
		in.segmented = true
	}
	rd := in.renditions[k]
	if only := in.renditions[""]; rd == nil && !header && only != nil && len(in.renditions) == 1 {
		rd = only // its header, such as init.mp4, names no rendition
	}
	if rd != nil && !header && early && !rd.begun {
		return nil, fmt.Errorf("%w yet", errConflict) // its header goes first
	}
	if rd != nil {
		return rd, nil
	}
	if !header {
		if early {
			return nil, fmt.Errorf("%w yet", errConflict)
		}
		if len(in.renditions) == 1 {
			for _, rd := range in.renditions {
				return rd, nil
			}
		}
		if len(in.renditions) > 1 {
			return nil, fmt.Errorf("%w: nothing came for rendition %q before; name the header like the segments, or use a folder for each rendition", errConflict, k)
		}
	}
	if len(in.renditions) >= maxRenditions {
		return nil, fmt.Errorf("%w renditions: at most %d", ingest.ErrTooMany, maxRenditions)
	}
	cfg.Name, cfg.Repeated = in.namer(), in.repeated
	rd = &rendition{last: -1}
	rd.demux = cmaf.NewDemuxer(starter{in.conn, in, rd, k != ""}, cfg)
	in.renditions[k] = rd
	in.starting++
	in.change()
	return rd, nil
}

const (
	// startAfter and startWait are how long the first media waits for the other
	// renditions of an input, which come in bodies of their own: the broadcast
	// is to begin with all of them. The first counts where none is known yet.
	startAfter = 300 * time.Millisecond
	startWait  = 2 * time.Second
)

// A starter is the broadcast of one rendition. Its tracks are added before any
// rendition brings media.
type starter struct {
	*ingest.Conn
	in   *input
	rd   *rendition
	many bool // there may be more than this one
}

// AddTrack implements cmaf.Broadcast.
func (s starter) AddTrack(name string, h cmaf.Header) (cmaf.Sink, error) {
	sink, err := s.Conn.AddTrack(name, h)
	if err != nil {
		return nil, err
	}
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	if s.rd.added {
		return sink, nil
	}
	s.rd.added = true
	s.in.starting--
	if s.in.started.IsZero() {
		s.in.started = time.Now()
	}
	s.in.change()
	if !s.many {
		return sink, nil
	}
	for {
		since := time.Since(s.in.started)
		wait := startWait - since
		if s.in.starting == 0 {
			wait = startAfter - since
		}
		if wait <= 0 {
			return sink, nil
		}
		if !s.in.wait(wait, nil) {
			return sink, nil
		}
	}
}

// wait waits, with the lock held, for a change, for at most d. It reports
// whether the input is still wanted, by its session and by whoever may end with
// done.
func (in *input) wait(d time.Duration, done <-chan struct{}) bool {
	changed := in.changed
	in.mu.Unlock()
	defer in.mu.Lock()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-in.conn.Done():
		return false
	case <-done:
		return false
	}
	return true
}

// namer returns a function that names one rendition's tracks: video, video2 and
// so on over all renditions, and the same again for a header that comes again.
func (in *input) namer() func(cmaf.Header, int) string {
	known := make(map[string]string)
	return func(h cmaf.Header, n int) string {
		in.mu.Lock()
		defer in.mu.Unlock()
		kind := string(h.Kind)
		id := fmt.Sprintf("%s%d", kind, n)
		if known[id] == "" {
			in.names[kind]++
			known[id] = kind
			if i := in.names[kind]; i > 1 {
				known[id] = fmt.Sprintf("%s%d", kind, i)
			}
		}
		return known[id]
	}
}
