package live

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
)

// State returns what a session does, or did if it ended within the last hour.
func (s *Service) State(id string) (State, bool) {
	if list := s.matching(Filter{Session: id}); len(list) == 1 && id != "" {
		return list[0].state(), true
	}
	return State{}, false
}

// States returns those of all sessions that match, those that run first, then by
// their beginnings.
func (s *Service) States(f Filter) []State {
	var list []State
	for _, r := range s.matching(f) {
		list = append(list, r.state())
	}
	slices.SortFunc(list, func(a, b State) int {
		if a.Live != b.Live {
			if a.Live {
				return -1
			}
			return 1
		}
		return cmp.Or(a.Since.Compare(b.Since), strings.Compare(a.ID, b.ID))
	})
	return list
}

// matching returns the sessions that are asked for.
func (s *Service) matching(f Filter) []*run {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*run
	match := func(r *run) {
		if (f.Org == "" || f.Org == r.rec.Org) && (f.Input == "" || f.Input == r.rec.Input) && (f.Session == "" || f.Session == r.rec.ID) {
			list = append(list, r)
		}
	}
	for _, r := range s.runs {
		match(r)
	}
	for _, r := range s.ended {
		match(r)
	}
	return list
}

func (r *run) state() State {
	r.mu.Lock()
	defer r.mu.Unlock()
	st := State{
		ID: r.rec.ID, Org: r.rec.Org, Input: r.rec.Input, Namespace: r.ns.Path(), Protocol: r.from.Protocol,
		Live: r.end.IsZero(), Paused: r.settings.Paused, Since: r.since, Ended: r.end,
		Connection: Connection{
			State: r.connection(), RemoteAddress: r.from.Addr, UserAgent: r.from.UserAgent,
			Encrypted: r.from.Encrypted, RTT: r.stats.RTT, Since: r.joined, Count: r.conns,
		},
		Network: Network{RTT: r.stats.RTT, Jitter: r.jitter(), Bytes: r.sum().bytes, IngestToPublish: r.delay, Skew: r.skew()},
		Viewers: r.viewers, PeakViewers: r.peak, Watched: r.watched, OverCap: r.capped, Quality: r.grade(),
	}
	if r.hasLoss {
		st.Network.Loss = new(r.loss)
	}
	if r.hasGlass {
		st.Network.GlassToPublish = new(r.glass)
	}
	for _, t := range r.tracks {
		st.Tracks = append(st.Tracks, Track{
			Name: t.name, Kind: string(t.header.Kind), Codec: t.header.Codec, Bitrate: t.bitrate(),
			Frames: t.frames, Bytes: t.bytes, Withheld: t.withheld,
		})
	}
	if t := r.video(); t != nil {
		st.Video = &Video{
			Bitrate: t.bitrate(), FrameRate: t.frameRate(), Width: t.header.Width, Height: t.header.Height,
			Codec: t.header.Codec, KeyFrameInterval: t.keyInterval, DroppedFrames: t.dropped,
		}
	}
	if t := r.audio(); t != nil {
		st.Audio = &Audio{Bitrate: t.bitrate(), SampleRate: t.header.SampleRate, Channels: t.header.Channels, Codec: t.header.Codec}
	}
	if r.moq != nil {
		r.moq.describe(&st)
	}
	return st
}

func (r *run) connection() string {
	switch {
	case !r.end.IsZero():
		return "closed"
	case r.lost:
		return "lost"
	}
	return "connected"
}

// skew returns how much later audio came than video, within the last second that
// had both.
func (r *run) skew() *time.Duration {
	v, a := r.video(), r.audio()
	if v == nil || a == nil || !v.hasLastOffset || !a.hasLastOffset {
		return nil
	}
	return new(a.lastOffset - v.lastOffset)
}

// grade returns the quality over the last minute.
func (r *run) grade() float64 {
	var sum float64
	n := 0
	r.past.since(time.Now().Unix()-60, func(x sample) {
		sum += float64(x.quality)
		n++
	})
	if n == 0 {
		return 0
	}
	return sum / float64(n)
}

// Series returns the period before now in 60 steps, the oldest first.
func (s *Service) Series(f Filter, p Period) []Point {
	now := time.Now()
	step := int64(p.Duration()/time.Second) / points
	if step == 0 {
		return nil
	}
	from := (now.Unix()/step - points + 1) * step
	sums := make([]stepSum, points)
	for _, r := range s.matching(f) {
		r.mu.Lock()
		r.past.since(from, func(x sample) {
			if i := (x.second - from) / step; i < points {
				sums[i].add(x)
			}
		})
		r.mu.Unlock()
	}
	out := make([]Point, points)
	for i := range out {
		out[i] = sums[i].point(time.Unix(from+int64(i)*step, 0), float64(min(step, now.Unix()-from-int64(i)*step+1)))
	}
	return out
}

// A stepSum adds up the seconds of a step.
type stepSum struct {
	n, viewers, bits, fps, quality, delay, rtt, jitter, loss float64
	withFPS, withDelay, withRTT, withJitter                  float64
	dropped                                                  uint64
}

func (s *stepSum) add(x sample) {
	s.n++
	s.viewers += float64(x.viewers)
	s.bits += float64(x.bits)
	s.quality += float64(x.quality)
	s.loss += float64(x.loss)
	s.dropped += uint64(x.dropped)
	for _, k := range []struct {
		v      float32
		sum, n *float64
	}{{x.fps, &s.fps, &s.withFPS}, {x.delay, &s.delay, &s.withDelay}, {x.rtt, &s.rtt, &s.withRTT}, {x.jitter, &s.jitter, &s.withJitter}} {
		if k.v > 0 {
			*k.sum += float64(k.v)
			*k.n++
		}
	}
}

// point returns the step, of which secs seconds have passed.
func (s stepSum) point(at time.Time, secs float64) Point {
	p := Point{Time: at, Dropped: s.dropped}
	if s.n == 0 || secs <= 0 {
		return p
	}
	p.Sessions, p.Viewers, p.Bitrate = s.n/secs, s.viewers/secs, s.bits/secs
	p.Quality, p.Loss = s.quality/s.n, s.loss/s.n
	mean := func(sum, n float64) float64 {
		if n == 0 {
			return 0
		}
		return sum / n
	}
	asTime := func(sum, n float64) time.Duration {
		return time.Duration(math.Round(1e6*mean(sum, n))) * time.Microsecond
	}
	p.FrameRate = mean(s.fps, s.withFPS)
	p.IngestToPublish = asTime(s.delay, s.withDelay)
	p.RTT, p.Jitter = asTime(s.rtt, s.withRTT), asTime(s.jitter, s.withJitter)
	return p
}

// Histogram returns the delays of a period; the empty one is since the start of
// each session.
func (s *Service) Histogram(f Filter, m Measure, p Period) Histogram {
	h := newHistogram()
	now := time.Now()
	for _, r := range s.matching(f) {
		if l := r.delays[m]; l != nil {
			r.mu.Lock()
			l.addSince(now, p.Duration(), &h)
			r.mu.Unlock()
		}
	}
	return h
}

// KPIs returns the key figures of what f asks for. Totals are those of its input,
// else of its organisation, or of all.
func (s *Service) KPIs(f Filter, p Period) KPIs {
	var k KPIs
	now := time.Now()
	from := now.Add(-p.Duration()).Unix()
	viewers := make(map[int64]int)
	var quality float64
	n := 0
	for _, r := range s.matching(f) {
		r.mu.Lock()
		if r.end.IsZero() {
			k.LiveSessions++
			k.Viewers += r.viewers
			for _, t := range r.tracks {
				k.Bitrate += t.bitrate()
			}
			if r.moq != nil {
				k.Bitrate += r.moq.bitrate
			}
		}
		r.past.since(from, func(x sample) {
			viewers[x.second] += int(x.viewers)
			k.Watched += time.Duration(x.viewers) * time.Second
			quality += float64(x.quality)
			n++
		})
		r.mu.Unlock()
	}
	for v := range maps.Values(viewers) {
		k.PeakViewers = max(k.PeakViewers, v)
	}
	if n > 0 {
		k.Quality = quality / float64(n)
	}
	k.IngestToPublish = s.Histogram(f, IngestToPublish, p).Quantiles()
	k.GlassToPublish = s.Histogram(f, GlassToPublish, p).Quantiles()
	k.Lateness = s.Histogram(f, Lateness, p).Quantiles()
	k.Totals = s.sumTotals(f)
	return k
}

// sumTotals returns the counts of an input, of an organisation, or of all.
func (s *Service) sumTotals(f Filter) Totals {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := Totals{Errors: map[string]uint64{endLost: 0, endFailed: 0}}
	for p, t := range s.totals {
		if p.input != f.Input || f.Org != "" && f.Org != p.org {
			continue
		}
		sum.Sessions += t.Sessions
		sum.Connections += t.Connections
		sum.Bytes += t.Bytes
		sum.Frames += t.Frames
		sum.DroppedFrames += t.DroppedFrames
		sum.Watched += t.Watched
		for why, n := range t.Errors {
			sum.Errors[why] += n
		}
	}
	return sum
}

var _ cmaf.Broadcast = (*broadcast)(nil)
