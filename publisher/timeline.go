package publisher

import (
	"cmp"
	"fmt"
	"log/slog"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
)

const (
	// maxHole is how far a track's decode time may run ahead of where its last
	// chunk ended. Beyond it the input's clock has jumped.
	maxHole = 10 * time.Second
	// utcWindow is how near to our clock an input's times must be to count as
	// UTC already. They are then kept, so that redundant inputs that are locked
	// to UTC agree on every time.
	utcWindow = 10 * time.Second
	// echoWindow is how long after a new offset another Discontinuity, ahead of
	// times that it fits, is the same jump as seen on another track.
	echoWindow = 2 * time.Second
	// reconnectMargin is added where a connection returns so soon that only
	// what was sent before decides its offset: its other tracks may start that
	// much earlier than the first.
	reconnectMargin = 1 // seconds
)

// A TimelineConfig configures a Timeline. The zero value is ready to use.
type TimelineConfig struct {
	// Now is the clock. Nil means time.Now.
	Now func() time.Time
	// Log takes what is worth a line. Nil discards it.
	Log *slog.Logger
	// After is where the media of an earlier run of the same broadcast ended;
	// what this Timeline sends starts at or after it. Zero: there was none.
	After cmaf.Time
}

// A Timeline puts the connections of an input onto one media timeline, which
// is based on UTC and only rises. It is a cmaf.Broadcast in front of another.
//
// At the first chunk of a connection it fixes a whole number of seconds that
// it adds to every time from then on: the most that leaves the chunk at or
// before the time of day, and enough to stay above everything sent before. A
// whole number of seconds is exact in every timescale, so differences between
// times, and the offset between tracks, stay what the input said. What lies
// between media time and UTC beyond that, less than a second as a rule, is the
// anchor. Inputs whose times are UTC already (within 10 s of the clock) are
// not moved.
//
// A new connection shows as a Discontinuity, which inputs call, as AddTrack for
// a name whose Sink is still open, or as a jump of decode times: backwards, or
// more than 10 s ahead of where the track's last chunk ended. It is passed on as
// one Discontinuity, with the first chunk after it; the other tracks follow the
// first. Times that go on where they were keep the offset that they had.
//
// The anchor follows the wall times that the input states with Anchor or, when
// it states none, the earliest arrival; it is slewed, never stepped.
//
// Calls come from one goroutine at a time, as for every Broadcast.
type Timeline struct {
	out cmaf.Broadcast
	now func() time.Time
	log *slog.Logger

	tracks map[string]*timelineTrack
	high   cmaf.Time // the end of the latest media sent
	// A run is what lies between two jumps. All tracks of a run have one offset,
	// so that they stay in sync; a track whose times have not jumped yet is
	// still in the run before, at the offset that it had.
	run     uint64 // counts runs; 0: none yet
	offset  int64  // of the run, seconds
	fixed   time.Time
	pending string // not empty: why the next chunk begins a run
	conn    uint64 // counts connections
	anchor  anchor
	early   *earlyAnchor // waits for an offset
}

// An earlyAnchor is an anchor at a media time as the input counts it.
type earlyAnchor struct {
	media cmaf.Time
	wall  time.Time
}

// timelineTrack is what a Timeline knows about one name. It outlives
// connections.
type timelineTrack struct {
	scale   uint32
	sink    *timelineSink // nil: closed
	conn    uint64        // that added it last
	run     uint64        // that it is in; 0: none yet on this connection
	sent    uint64        // the run of the last chunk
	offset  int64         // of its run, seconds
	lastDTS int64         // of the last chunk, as the input said
	lastEnd int64
	floor   cmaf.Time // decode times sent so far are below
}

// NewTimeline returns a Timeline that feeds out.
func NewTimeline(out cmaf.Broadcast, cfg TimelineConfig) *Timeline {
	t := &Timeline{
		out: out, now: cfg.Now, log: cfg.Log,
		tracks: make(map[string]*timelineTrack), high: cfg.After,
	}
	if t.now == nil {
		t.now = time.Now
	}
	if t.log == nil {
		t.log = slog.New(slog.DiscardHandler)
	}
	return t
}

// AddTrack starts a track, or continues it when a connection before this one
// had added its name.
func (t *Timeline) AddTrack(name string, h cmaf.Header) (cmaf.Sink, error) {
	if h.Timescale == 0 {
		return nil, fmt.Errorf("publisher: track %q has a timescale of 0", name)
	}
	tr := t.tracks[name]
	switch {
	case tr == nil:
		if len(t.tracks) >= maxTracks {
			return nil, fmt.Errorf("publisher: track %q: %w", name, ErrTooManyTracks)
		}
	case tr.sink != nil && tr.conn == t.conn:
		t.Discontinuity("new connection") // it takes over from one that has not ended
	}
	sink, err := t.out.AddTrack(name, h)
	if err != nil {
		return nil, err
	}
	if tr == nil {
		tr = &timelineTrack{}
		t.tracks[name] = tr
	}
	if tr.scale != h.Timescale {
		tr.run = 0
	}
	tr.scale, tr.conn = h.Timescale, t.conn
	tr.sink = &timelineSink{t: t, tr: tr, name: name, out: sink}
	return tr.sink, nil
}

// Event passes e on, at its time on the timeline.
func (t *Timeline) Event(e cmaf.Event) error {
	e.Time = e.Time.Add(cmaf.Time{Ticks: t.offset, Scale: 1})
	return t.out.Event(e)
}

// Discontinuity says that the next chunks belong to a new connection, or that
// the input's times jump.
func (t *Timeline) Discontinuity(reason string) {
	if t.run == 0 {
		return // nothing was sent that a jump could be against
	}
	t.pending = cmp.Or(reason, "discontinuity")
	t.conn++
	for _, tr := range t.tracks {
		tr.run = 0
	}
}

// Anchor says that the input's clock showed wall at media, a decode time as
// the input counts it.
func (t *Timeline) Anchor(media cmaf.Time, wall time.Time) {
	if t.run == 0 || t.pending != "" {
		t.early = &earlyAnchor{media, wall}
		return
	}
	out := media.Add(cmaf.Time{Ticks: t.offset, Scale: 1})
	t.anchor.state(out, wall)
	t.tell(out)
}

// Close ends the broadcast.
func (t *Timeline) Close(reason error) error { return t.out.Close(reason) }

// tell passes the anchor on when it has moved enough to matter.
func (t *Timeline) tell(media cmaf.Time) {
	if wall, ok := t.anchor.due(media); ok {
		t.out.Anchor(media, wall)
	}
}

// timelineSink is one track of one connection.
type timelineSink struct {
	t    *Timeline
	tr   *timelineTrack
	name string
	out  cmaf.Sink
}

// WriteChunk passes c on at its time on the timeline. It fails with
// ErrReplaced once another connection has added the track.
func (s *timelineSink) WriteChunk(c cmaf.Chunk) error {
	t, tr := s.t, s.tr
	if tr.sink != s {
		return fmt.Errorf("publisher: track %q: %w", s.name, ErrReplaced)
	}
	if reason := t.jump(tr, c); reason != "" {
		reason = fmt.Sprintf("track %s: %s", s.name, reason)
		if !t.join(tr, c, reason) {
			t.begin(tr, c, reason)
		}
	}
	if tr.run == t.run {
		tr.offset = t.offset
	}
	tr.sent, tr.lastDTS, tr.lastEnd = tr.run, c.DecodeTime, c.End()
	arrived := t.now()
	c.DecodeTime += tr.offset * int64(tr.scale)
	end := cmaf.Time{Ticks: c.End(), Scale: tr.scale}
	tr.floor = end
	if t.high.Before(end) {
		t.high = end
	}
	// The last sample of the chunk cannot have been captured after the chunk
	// came, which bounds UTC from above.
	if n := len(c.Samples); n > 0 && tr.run == t.run {
		last := cmaf.Time{Ticks: end.Ticks - int64(c.Samples[n-1].Duration), Scale: tr.scale}
		t.anchor.arrival(last, arrived)
		t.tell(last)
	}
	return s.out.WriteChunk(c)
}

// Close ends the track, unless another connection has taken it over.
func (s *timelineSink) Close() error {
	if s.tr.sink != s {
		return nil
	}
	s.tr.sink = nil
	return s.out.Close()
}

// jump says why c does not continue the track's times, "" if it does. A track
// that has much less to say than others may leave holes.
func (t *Timeline) jump(tr *timelineTrack, c cmaf.Chunk) string {
	switch hole := (cmaf.Time{Ticks: c.DecodeTime - tr.lastEnd, Scale: tr.scale}); {
	case tr.run == 0:
		return "new connection"
	case c.DecodeTime < tr.lastDTS:
		return fmt.Sprintf("decode time goes back by %v",
			cmaf.Time{Ticks: tr.lastDTS - c.DecodeTime, Scale: tr.scale}.Duration())
	case hole.Duration() > maxHole && !(tr.run == t.run && t.near(tr, c)):
		return fmt.Sprintf("decode time jumps ahead by %v", hole.Duration())
	}
	return ""
}

// at returns when c would be sent in the newest run.
func (t *Timeline) at(tr *timelineTrack, c cmaf.Chunk) cmaf.Time {
	return cmaf.Time{Ticks: c.DecodeTime + t.offset*int64(tr.scale), Scale: tr.scale}
}

// near reports whether c would lie near the other tracks in the newest run. A
// track that was never heard of may be anywhere.
func (t *Timeline) near(tr *timelineTrack, c cmaf.Chunk) bool {
	return tr.floor.Scale == 0 || t.at(tr, c).Sub(t.high).Duration().Abs() <= maxHole
}

// join takes the track into the run that another one has begun, if its times
// suit that. Should they not rise, the whole run is moved up.
func (t *Timeline) join(tr *timelineTrack, c cmaf.Chunk, reason string) bool {
	if t.pending != "" || t.run == 0 || tr.run == t.run || !t.near(tr, c) {
		return false
	}
	at := t.at(tr, c)
	least := cmaf.Time{Scale: tr.scale}
	if least.Before(tr.floor) {
		least = tr.floor
	}
	if at.Before(least) {
		t.log.Info("media time is moved up", "reason", reason)
		t.out.Discontinuity(reason)
		t.offset -= floorSeconds(at.Sub(least))
		t.anchor.restart(t.now())
	}
	tr.run = t.run
	return true
}

// begin begins a run at c, the first chunk after a jump.
func (t *Timeline) begin(tr *timelineTrack, c cmaf.Chunk, reason string) {
	now := t.now()
	at := t.at(tr, c)
	keep := t.run > 0 && t.near(tr, c) && at.Ticks >= 0 && !at.Before(tr.floor)
	echo := keep && t.run > 1 && tr.sent < t.run && now.Sub(t.fixed) < echoWindow
	// Unless this is an echo, the other tracks are yet to come, and some of
	// them may start a little earlier.
	keep = keep && (echo || !at.Before(t.high))
	if t.run > 0 && !echo {
		reason = cmp.Or(t.pending, reason)
		t.log.Info("media time starts anew", "reason", reason)
		t.out.Discontinuity(reason)
	}
	t.pending = ""
	t.run++
	if !keep {
		t.offset, t.fixed = wholeSeconds(cmaf.Time{Ticks: c.DecodeTime, Scale: tr.scale}, now, t.high), now
		t.anchor.restart(now)
	}
	tr.run = t.run
	if e := t.early; e != nil {
		t.early = nil
		t.anchor.state(e.media.Add(cmaf.Time{Ticks: t.offset, Scale: 1}), e.wall)
	}
}

// wholeSeconds returns the offset for a connection whose first chunk has the
// decode time at and came at now, after media that ended at high.
func wholeSeconds(at cmaf.Time, now time.Time, high cmaf.Time) int64 {
	utc := cmaf.Time{Ticks: now.UnixNano(), Scale: uint32(time.Second)}
	offset := floorSeconds(utc.Sub(at))
	if d := utc.Sub(at).Duration(); d.Abs() <= utcWindow {
		offset = 0
	}
	if sum := at.Add(cmaf.Time{Ticks: offset, Scale: 1}); high.Scale != 0 && sum.Before(high) {
		offset = -floorSeconds(at.Sub(high)) + reconnectMargin
	}
	return offset
}

// floorSeconds returns the whole seconds of t, rounded down.
func floorSeconds(t cmaf.Time) int64 {
	s := t.Ticks / int64(t.Scale)
	if t.Ticks < 0 && s*int64(t.Scale) != t.Ticks {
		s--
	}
	return s
}
