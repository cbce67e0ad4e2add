package relay

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// An inquiry asks about a track once, without subscribing to it: a fetcher or a
// prober. It is answered from the track that is carried; a track that is not is
// subscribed to first, paused, which tells its properties and its largest object
// and brings no media. Its methods do not block.
type inquiry interface {
	reject(wire.RequestCode, string)
}

// A fetcher asks for a range of a track (FETCH, section 10.12).
type fetcher interface {
	inquiry
	// bounds returns what of the range is published, as far as t knows, and
	// whether the track ends there.
	bounds(t *track.Track) (r track.Range, endOfTrack bool, err *track.RequestError)
	// patience is how long it may wait in all for what is not there (FILL_TIMEOUT,
	// section 10.2.5). 0: it wants what is there, and no more.
	patience() time.Duration
	// began keeps when it began to wait, and since tells.
	began(time.Time)
	since() time.Time
	accept(t *track.Track, r track.Range, endOfTrack bool)
}

// A prober asks for the state of a track (TRACK_STATUS, section 10.14).
type prober interface {
	inquiry
	tell(*track.Track)
}

// A fill is a hole in a track that is being filled: one request upstream for it,
// whoever asks for parts of it meanwhile.
type fill struct {
	name  wire.FullTrackName
	t     *track.Track
	gap   track.Range
	guard *track.Filler // readers wait for it from one attempt to the next
	epoch uint64        // of the attempt in force
	src   *source       // that is asked; nil: History
	tried []*source
	users []fetcher // the fill is given up when they are gone
}

const (
	// maxGaps is how many holes of a range are asked for one by one. More of
	// them are asked for together, what lies between included.
	maxGaps = 4
	// maxPast bounds the inquiries that wait for one track to be there.
	maxPast = 64
)

// inquire takes a FETCH or a TRACK_STATUS.
func (c *core) inquire(now time.Time, name wire.FullTrackName, q inquiry) []action {
	src := c.pick(name.Namespace, nil)
	e := c.tracks[name]
	if f, ok := q.(fetcher); ok {
		f.began(now)
	}
	if t, ok := src.offers(name); ok {
		c.answer(now, name, t, q)
		return c.take()
	}
	able := c.candidates(now, name)
	switch {
	case e != nil && e.track != nil:
		c.answer(now, name, e.track, q)
	case e != nil && len(e.inquiries) >= maxPast:
		c.do(actRefuseInquiry{q, wire.RequestExcessiveLoad, "too many requests wait for the track"})
	case e != nil && len(e.links) > 0:
		e.inquiries = append(e.inquiries, q)
	case len(able) > 0 && src.local == nil:
		if e == nil {
			e = c.open(now, name)
		}
		e.inquiries = append(e.inquiries, q)
		c.connect(now, e, able[0])
	default:
		c.do(actRefuseInquiry{q, wire.RequestDoesNotExist, fmt.Sprintf("nobody publishes %s", name)})
	}
	return c.take()
}

// answer answers from t, once what is missing of it is asked for.
func (c *core) answer(now time.Time, name wire.FullTrackName, t *track.Track, q inquiry) {
	f, ok := q.(fetcher)
	if !ok {
		c.do(actTellStatus{q.(prober), t})
		return
	}
	r, endOfTrack, err := f.bounds(t)
	if err != nil {
		c.do(actRefuseInquiry{q, err.Code, err.Reason})
		return
	}
	missing := false
	if f.patience() > 0 {
		missing = c.fillFor(now, name, t, r, f)
	}
	c.counts.fetch(missing)
	c.do(actAcceptFetch{f, t, r, endOfTrack})
}

// fillFor asks for what is unknown of r and is not asked for yet.
func (c *core) fillFor(now time.Time, name wire.FullTrackName, t *track.Track, r track.Range, f fetcher) (missing bool) {
	for _, o := range c.fills {
		if o.t == t && o.gap.Start.Less(r.End) && r.Start.Less(o.gap.End) {
			o.users = append(o.users, f)
			missing = true
		}
	}
	gaps := t.Unknown(r, maxGaps+1)
	if len(gaps) > maxGaps {
		gaps = []track.Range{{Start: gaps[0].Start, End: r.End}}
	}
	for _, gap := range gaps {
		missing = true
		if len(c.fills) >= c.cfg.MaxFills {
			c.counts.unfilled++
			continue // it is told to be unknown
		}
		o := &fill{name: name, t: t, gap: gap, guard: t.Fill(gap), users: []fetcher{f}}
		c.fills = append(c.fills, o)
		if c.cfg.History != nil && older(t, gap) {
			o.epoch = c.newEpoch()
			c.do(actRecall{o.epoch, name, gap, t.Fill(gap)})
		} else {
			c.fetchNext(now, o)
		}
	}
	return missing
}

// older reports whether gap begins before all that t has cached.
func older(t *track.Track, gap track.Range) bool {
	groups := t.Groups()
	return len(groups) == 0 || gap.Start.Group < groups[0].ID
}

// wait returns how long o may still take: what is left to the most patient of its
// users.
func (o *fill) wait(now time.Time) (d time.Duration) {
	for _, f := range o.users {
		d = max(d, f.patience()-now.Sub(f.since()))
	}
	return d
}

// fetchNext asks the next publisher of o, any of which will do (section 9.5), to
// answer in the time that is left (section 10.2.5). If there is none, of either,
// what is missing stays unknown.
func (c *core) fetchNext(now time.Time, o *fill) {
	wait := o.wait(now)
	o.src = nil
	for _, src := range c.fetchable(o) {
		if wait > 0 && !slices.Contains(o.tried, src) {
			o.src = src
			break
		}
	}
	if o.src == nil {
		c.endFill(o)
		return
	}
	o.tried = append(o.tried, o.src)
	o.epoch = c.newEpoch()
	c.do(actFetch{o.src, o.name, o.epoch, o.gap, o.t.Fill(o.gap), wait})
}

// fetchable returns who can be asked for the past of o's track: those who fill
// it first.
func (c *core) fetchable(o *fill) (out []*source) {
	e := c.tracks[o.name]
	if e == nil || e.track != o.t {
		return nil // it is published in this process, or has ended
	}
	for _, l := range e.links {
		if l.up != nil && !l.src.lost() {
			out = append(out, l.src)
		}
	}
	for _, src := range c.sessions(o.name.Namespace) {
		if !src.lost() && src.routable && !slices.Contains(out, src) {
			out = append(out, src)
		}
	}
	return out
}

// fetched tells that an attempt to fill a hole is over.
func (c *core) fetched(now time.Time, epoch uint64, err error) []action {
	i := slices.IndexFunc(c.fills, func(o *fill) bool { return o.epoch == epoch })
	if i < 0 {
		return c.take()
	}
	o := c.fills[i]
	switch {
	case err == nil:
		c.endFill(o)
	case errors.Is(err, wire.ErrMalformedTrack):
		c.endFill(o)
		if e := c.tracks[o.name]; e != nil && e.track == o.t {
			c.blame(now, e, o.src, err.Error())
		}
	default:
		c.fetchNext(now, o)
	}
	return c.take()
}

// uninquire tells that an inquiry is over. What only it wanted is given up.
func (c *core) uninquire(name wire.FullTrackName, q inquiry) []action {
	if e := c.tracks[name]; e != nil {
		e.inquiries = slices.DeleteFunc(e.inquiries, func(o inquiry) bool { return o == q })
	}
	for _, o := range slices.Clone(c.fills) {
		if o.name != name {
			continue
		}
		o.users = slices.DeleteFunc(o.users, func(f fetcher) bool { return inquiry(f) == q })
		if len(o.users) == 0 {
			c.do(actUnask{o.epoch})
			c.endFill(o)
		}
	}
	return c.take()
}

// endFill ends o: readers no longer wait for it.
func (c *core) endFill(o *fill) {
	c.fills = slices.DeleteFunc(c.fills, func(p *fill) bool { return p == o })
	c.do(actEndFill{o.guard})
}

// History answers for the past of a track, from outside its cache.
type History interface {
	// Fetch fills f, which is open for r, with what is known of the track, and
	// ends it; then it calls done, once, from any goroutine: with an error unless
	// all of r was told. What it could not tell is asked of a publisher. ok is
	// false if it has nothing, and done is not called then. Neither Fetch nor
	// cancel blocks.
	Fetch(name track.Name, r track.Range, f *track.Filler, done func(error)) (cancel func(), ok bool)
}
