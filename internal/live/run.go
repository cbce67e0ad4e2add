package live

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/ingest"
	"github.com/broadcastd/broadcastd/moqt/track"
)

// A run is one session while it runs, and its past.
type run struct {
	s    *Service
	rec  Record
	name string
	ns   track.Namespace

	mu       sync.Mutex
	out      Output       // nil of a MoQ publisher with a catalog of its own, and after the end
	moq      *publication // that publisher
	settings Settings
	from     ingest.Peer
	since    time.Time // when the session began
	joined   time.Time // when its connection did
	conns    int
	lost     bool
	end      time.Time // zero: it runs

	tracks  []*liveTrack // in the order in which they were added
	retired counts       // of tracks that were removed
	told    counts       // what tick has told
	anchor  anchor
	capped  bool // the cap is below the lowest rendition

	publishedSum time.Duration // within the second that runs
	publishedN   int
	delay        time.Duration // mean of the last second that had some
	glass        time.Duration
	hasGlass     bool

	viewers, peak int
	watched       time.Duration
	past          samples
	delays        map[Measure]*delayLog
	stats         ingest.PeerStats // as of the last tick
	loss          float64          // of that second
	hasLoss       bool
}

// counts are what a session got.
type counts struct{ bytes, frames, dropped uint64 }

func (c counts) plus(m *meter) counts {
	c.bytes += m.bytes
	c.dropped += m.dropped
	if m.header.Kind == cmaf.KindVideo {
		c.frames += m.frames
	}
	return c
}

// An anchor is when the producer captured what has a certain media time.
type anchor struct {
	media time.Duration
	wall  time.Time
	known bool
}

func newRun(s *Service, rec Record, name string, ns track.Namespace, p ingest.Peer, now time.Time) *run {
	r := &run{
		s: s, rec: rec, name: name, ns: ns, settings: rec.Settings,
		since: now, delays: make(map[Measure]*delayLog),
	}
	for _, m := range Measures() {
		r.delays[m] = &delayLog{}
	}
	r.connected(p, now)
	return r
}

func (r *run) connected(p ingest.Peer, now time.Time) {
	p.UserAgent = clean(p.UserAgent)
	r.from, r.joined, r.lost = p, now, false
	r.conns++
	r.stats = ingest.PeerStats{}
	r.jump()
}

// jump forgets what was known of the way of the media, because it comes anew.
func (r *run) jump() {
	r.anchor = anchor{}
	for _, t := range r.tracks {
		t.jump()
		t.schedule = schedule{}
	}
}

// maxAgent bounds the user agent that is kept, in bytes.
const maxAgent = 256

// clean returns what a peer calls itself, fit to be shown.
func clean(agent string) string {
	agent = strings.ToValidUTF8(agent[:min(len(agent), maxAgent)], "")
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return -1
		}
		return c
	}, agent)
}

func (r *run) peer() ingest.Peer {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.from
}

func (r *run) endedAt() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.end
}

func (r *run) peakViewers() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.peak
}

// close ends r, once.
func (r *run) close(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.end.IsZero() {
		return false
	}
	r.end, r.viewers = now, 0
	r.release()
	return true
}

// release lets go of what a session that has ended needs no more: its figures are
// kept for an hour, its media and its connection are not.
func (r *run) release() {
	r.out, r.from.Stats = nil, nil
	for _, t := range r.tracks {
		t.sink = nil
	}
	if r.moq != nil {
		r.moq.conn = nil
	}
}

// apply takes new settings and returns those that were.
func (r *run) apply(set Settings) (was Settings) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was, r.settings = r.settings, set
	if was.Paused && !set.Paused {
		for _, t := range r.tracks {
			t.waiting = true // for a random access point
		}
	}
	r.choose(true)
	return was
}

// carryOut does what new settings ask for outside of the media.
func (r *run) carryOut() {
	r.mu.Lock()
	set, out, passed, over := r.settings, r.out, r.moq != nil, !r.end.IsZero()
	r.mu.Unlock()
	switch {
	case over:
	case passed:
		r.s.cfg.Relay.Pause(r.ns, set.Paused)
	case out != nil:
		out.SetTargetLatency(set.TargetLatency)
	}
}

// stop closes the input, unless it has begun another session meanwhile.
func (r *run) stop() {
	r.s.mu.Lock()
	current := r.s.byName[r.name] == r
	r.s.mu.Unlock()
	if !current {
		return
	}
	r.mu.Lock()
	passed := r.moq != nil
	r.mu.Unlock()
	if passed {
		r.s.cfg.Relay.Evict(r.ns, "the session was ended")
		return
	}
	r.s.cfg.End(r.name)
}

// published takes the time from a chunk's arrival to its publication.
func (r *run) published(d time.Duration) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.publishedSum += d
	r.publishedN++
	r.observe(now, IngestToPublish, d)
}

func (r *run) observe(now time.Time, m Measure, d time.Duration) {
	r.delays[m].observe(now, d)
	r.s.metrics.observe(m, d)
}

// tick ends a second.
func (r *run) tick(now time.Time, viewers int) second {
	stats := r.readStats() // outside of the lock: it asks a transport
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.end.IsZero() {
		return second{}
	}
	r.viewers, r.peak = viewers, max(r.peak, viewers)
	r.watched += time.Duration(viewers) * time.Second
	r.takeStats(stats)
	if r.publishedN > 0 {
		r.delay = r.publishedSum / time.Duration(r.publishedN)
	}
	published := r.publishedN
	r.publishedSum, r.publishedN = 0, 0
	for _, t := range r.tracks {
		t.tick()
	}
	if r.moq != nil {
		r.moq.tick(r)
	}
	is := r.sum()
	t := second{
		bytes: is.bytes - r.told.bytes, frames: is.frames - r.told.frames,
		dropped: is.dropped - r.told.dropped, viewers: viewers,
	}
	r.told = is
	r.choose(false)
	x := sample{
		second: now.Unix(), viewers: uint32(viewers), dropped: uint32(t.dropped), bits: float32(8 * t.bytes),
		rtt: float32(r.stats.RTT.Seconds()), jitter: float32(r.jitter().Seconds()), loss: float32(r.loss),
	}
	if v := r.video(); v != nil {
		x.fps = float32(v.frameRate())
	}
	if published > 0 {
		x.delay = float32(r.delay.Seconds())
	}
	x.quality = float32(r.quality(t))
	r.past.add(x)
	return t
}

func (r *run) readStats() ingest.PeerStats {
	if f := r.peer().Stats; f != nil {
		return f()
	}
	return ingest.PeerStats{}
}

// takeStats takes what the transport measures.
func (r *run) takeStats(is ingest.PeerStats) {
	was := r.stats
	r.stats = is
	if is.Received+is.Lost == 0 {
		return
	}
	r.hasLoss, r.loss = true, 0
	got, lost := is.Received-was.Received, is.Lost-was.Lost
	if is.Received >= was.Received && is.Lost >= was.Lost && got+lost > 0 {
		r.loss = float64(lost) / float64(got+lost)
	}
}

// sum returns what the session got so far.
func (r *run) sum() counts {
	c := r.retired
	for _, t := range r.tracks {
		c = c.plus(&t.meter)
	}
	return c
}

// quality grades a second: 100 less what is missing. A second without media
// while there should be some is 0; each lost percent of packets costs ten.
func (r *run) quality(t second) float64 {
	if r.lost {
		return 0
	}
	q := 100.0
	if t.frames+t.dropped > 0 {
		q *= float64(t.frames) / float64(t.frames+t.dropped)
	}
	return q * max(0, 1-10*r.loss)
}

// video returns the largest rendition that comes, nil if none does.
func (r *run) video() (best *liveTrack) {
	for _, t := range r.tracks {
		if t.header.Kind != cmaf.KindVideo {
			continue
		}
		if best == nil || t.header.Height*t.header.Width > best.header.Height*best.header.Width {
			best = t
		}
	}
	return best
}

func (r *run) audio() *liveTrack {
	i := slices.IndexFunc(r.tracks, func(t *liveTrack) bool { return t.header.Kind == cmaf.KindAudio })
	if i < 0 {
		return nil
	}
	return r.tracks[i]
}

// jitter returns the transport's, or else that of the chunks.
func (r *run) jitter() time.Duration {
	if r.stats.Jitter > 0 {
		return r.stats.Jitter
	}
	if t := cmp.Or(r.video(), r.audio()); t != nil {
		return t.jitter
	}
	return 0
}

// choose decides which renditions the cap lets through. Fresh settings act at
// the figure; measures that move about it do not make a rendition come and go.
func (r *run) choose(fresh bool) {
	limit := float64(r.settings.MaxBitrate)
	r.capped = false
	var audio float64
	var videos []*liveTrack
	for _, t := range r.tracks {
		switch t.header.Kind {
		case cmaf.KindVideo:
			videos = append(videos, t)
		case cmaf.KindAudio:
			audio = max(audio, t.rate())
		}
	}
	slices.SortStableFunc(videos, func(a, b *liveTrack) int { return cmp.Compare(a.rate(), b.rate()) })
	for i, t := range videos {
		most := limit
		if !t.withheld && !fresh {
			most *= 1.1
		}
		over := limit > 0 && t.rate()+audio > most
		t.withheld = over && i > 0 // something has to be left to see
		r.capped = r.capped || over && i == 0
	}
}

// A BitrateError says that a cap lies below all that a session has.
type BitrateError struct{ Least, Asked float64 } // bits per second

func (e *BitrateError) Error() string {
	return fmt.Sprintf("maxBitrate of %.0f kbit/s is below the lowest rendition of this session, which has %.0f kbit/s: "+
		"lower the encoder's bitrate, or send a lower rendition beside it", e.Asked/1000, e.Least/1000)
}

// CheckBitrate says whether a session can be held below a bitrate in kbit/s: its
// lowest rendition cannot be withheld. A *BitrateError is for people too.
func (s *Service) CheckBitrate(id string, kbits int) error {
	s.mu.Lock()
	r := s.runs[id]
	s.mu.Unlock()
	if r == nil || kbits <= 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var least, audio float64
	for _, t := range r.tracks {
		switch rate := t.bitrate(); {
		case t.header.Kind == cmaf.KindAudio:
			audio = max(audio, rate)
		case t.header.Kind == cmaf.KindVideo && rate > 0 && (least == 0 || rate < least):
			least = rate
		}
	}
	if asked := 1000 * float64(kbits); least+audio > asked {
		return &BitrateError{least + audio, asked}
	}
	return nil
}

var _ ingest.Opener = (*Service)(nil)
