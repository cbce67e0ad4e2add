package pull

import (
	"context"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
)

const maxNotes = 64 // events that wait for a chunk

// A feed is the Broadcast that one rendition's demuxers feed: it queues what
// they bring for the output. The rendition's goroutine calls it.
type feed struct {
	out      *output
	index    int
	noAudio  bool   // it comes from another rendition
	language string // ISO 639-2/T, of audio that does not say; empty: unknown

	// Of the rendition's goroutine alone.
	epoch  int          // counts discontinuities
	reason string       // of the last one
	wall   time.Time    // of the next random access point; zero: nothing to say
	events []cmaf.Event // wait for the next chunk

	// Under out.mu.
	tracks []*outTrack
	ended  bool
}

// AddTrack implements cmaf.Broadcast.
func (f *feed) AddTrack(name string, h cmaf.Header) (cmaf.Sink, error) {
	if f.noAudio && h.Kind == cmaf.KindAudio {
		return discard{}, nil
	}
	if h.Language == "" && h.Kind == cmaf.KindAudio {
		h.Language = f.language
	}
	f.out.mu.Lock()
	defer f.out.mu.Unlock()
	t := f.track(name, h.Kind)
	t.push(item{epoch: f.epoch, reason: f.reason, header: &h})
	f.out.wake()
	return &feedSink{f: f, t: t, scale: h.Timescale, video: h.Kind == cmaf.KindVideo}, nil
}

// track returns the track of that name, made if there is none.
func (f *feed) track(name string, kind cmaf.Kind) *outTrack {
	for _, t := range f.tracks {
		if t.local == name && t.kind == kind {
			return t
		}
	}
	t := &outTrack{feed: f, local: name, kind: kind}
	f.tracks = append(f.tracks, t)
	return t
}

// Event implements cmaf.Broadcast: e goes out with the next chunk.
func (f *feed) Event(e cmaf.Event) error {
	if len(f.events) < maxNotes {
		f.events = append(f.events, e)
	}
	return nil
}

// Discontinuity implements cmaf.Broadcast. Demuxers call it for each rendition
// and for holes too; the output looks at the times itself.
func (f *feed) Discontinuity(string) {}

// Anchor implements cmaf.Broadcast, for prft boxes. What the playlist says is
// preferred, because it holds for all segments.
func (f *feed) Anchor(cmaf.Time, time.Time) {}

// Close implements cmaf.Broadcast. Demuxers do not call it.
func (f *feed) Close(error) error { return nil }

// anchor says that the next segment begins at wall.
func (f *feed) anchor(wall time.Time) {
	if f.index == 0 {
		f.wall = wall
	}
}

// discontinuity says that the next segment does not continue the one before,
// and how many discontinuities lie between them.
func (f *feed) discontinuity(steps int, reason string) {
	f.epoch += steps
	f.reason = reason
	f.wall = time.Time{}
}

// live says that the presentation is one, of which all that the playlist has
// from distance before its end is fetched.
func (f *feed) live(distance, target time.Duration) {
	f.out.mu.Lock()
	defer f.out.mu.Unlock()
	f.out.setLive(distance, target)
}

// room waits until there is room for another segment.
func (f *feed) room(ctx context.Context) error {
	o := f.out
	o.mu.Lock()
	defer o.mu.Unlock()
	for {
		span := f.span()
		if span == 0 || span < o.ahead && o.bytes < o.maxBytes {
			return nil
		}
		freed := o.freed
		o.mu.Unlock()
		select {
		case <-freed:
		case <-ctx.Done():
		}
		o.mu.Lock()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

// span returns how much media of the feed waits, of the track with most.
func (f *feed) span() (longest time.Duration) {
	for _, t := range f.tracks {
		longest = max(longest, t.span())
	}
	return longest
}

// end says that nothing follows.
func (f *feed) end() {
	f.out.mu.Lock()
	defer f.out.mu.Unlock()
	f.ended = true
	f.out.wake()
}

// A feedSink queues one track's chunks.
type feedSink struct {
	f     *feed
	t     *outTrack
	scale uint32
	video bool
}

// WriteChunk implements cmaf.Sink.
func (s *feedSink) WriteChunk(c cmaf.Chunk) error {
	f := s.f
	it := item{chunk: c, scale: s.scale, events: f.events}
	f.events = nil
	// The picture before the segment's first may come late, because it had to
	// wait for its duration.
	if !f.wall.IsZero() && (c.RAP || !s.video) {
		it.wall, f.wall = f.wall, time.Time{}
	}
	f.out.mu.Lock()
	defer f.out.mu.Unlock()
	if jump := s.t.jumpAt(it.time(), f.epoch); jump != "" && len(f.out.feeds) == 1 {
		f.epoch++ // all tracks jump
		f.reason = jump
	} else {
		it.jump = jump // whether others do is not known
	}
	it.epoch, it.reason = f.epoch, f.reason
	s.t.push(it)
	f.out.bytes += int64(len(c.Data))
	f.out.wake()
	return nil
}

// Close implements cmaf.Sink.
func (s *feedSink) Close() error {
	s.f.out.mu.Lock()
	defer s.f.out.mu.Unlock()
	s.t.push(item{epoch: s.f.epoch, reason: s.f.reason, closed: true})
	s.f.out.wake()
	return nil
}

// discard is the Sink of a track that is not wanted.
type discard struct{}

func (discard) WriteChunk(cmaf.Chunk) error { return nil }
func (discard) Close() error                { return nil }
