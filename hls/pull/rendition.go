package pull

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/hls/playlist"
	"github.com/broadcastd/broadcastd/ingest/mpegts"
)

// maxMissing is how many segments in a row may be missing before that is the
// end of it.
const maxMissing = 3

// leastMissing is how long a segment that a playlist lists is asked for at
// least, when the server says that there is none.
const leastMissing = 3 * time.Second

// A demuxer takes the bodies of segments one after another. cmaf.Demuxer and
// mpegts.Demuxer are ones.
type demuxer interface {
	io.Writer
	EndBody() error
	Close() error
}

// A rendition pulls one media playlist and feeds what comes into its feed. One
// goroutine runs it.
type rendition struct {
	choice
	p     *Puller
	f     *fetcher
	log   *slog.Logger
	feed  *feed
	clock *mpegts.Clock

	track   tracker
	loaded  time.Time // when the load of choice.media began
	began   bool
	live    bool
	entered bool   // period is valid
	fed     bool   // a segment was demuxed
	period  uint64 // discontinuity sequence number of the last segment
	missing int    // segments in a row

	demux   demuxer
	isTS    bool
	current *playlist.Map // that demux has
	keys    []heldKey     // at most maxKeys, the latest last
}

// run pulls until the playlist ends or something fails.
func (r *rendition) run(ctx context.Context) error {
	r.track = tracker{distance: r.p.cfg.EdgeDistance, stale: r.p.cfg.StaleAfter}
	for {
		began, m, err := r.load(ctx)
		if err != nil {
			return err
		}
		plan, err := r.track.update(time.Now(), m)
		if err != nil {
			return fmt.Errorf("%w (%s)", err, redact(r.uri))
		}
		if !r.began {
			r.begin(m)
		}
		r.report(plan)
		for i := plan.from; i < len(m.Segments); i++ {
			if err := r.feed.room(ctx); err != nil {
				return err
			}
			if err := r.enter(plan, m, i); err != nil {
				return err
			}
			if err := r.segment(ctx, m, &m.Segments[i]); err != nil {
				return err
			}
		}
		if plan.ended {
			return r.closeDemuxer()
		}
		if err := sleep(ctx, r.track.reload(m)-time.Since(began)); err != nil {
			return err
		}
	}
}

// load returns the media playlist, and when its load began.
func (r *rendition) load(ctx context.Context) (time.Time, *playlist.Media, error) {
	if m := r.media; m != nil {
		r.media = nil
		m, err := media(playlist.Playlist{Media: m}, r.uri)
		return r.loaded, m, err
	}
	began := time.Now()
	list, err := r.f.playlist(ctx, r.uri, r.p.cfg.RequestTimeout, !r.began)
	if err != nil {
		return began, nil, err
	}
	m, err := media(list, r.uri)
	return began, m, err
}

// begin takes what the first load says about the presentation as a whole.
func (r *rendition) begin(m *playlist.Media) {
	r.began, r.live = true, !ended(m)
	if r.live {
		r.feed.live(edgeDistance(m, r.track.distance), m.TargetDuration)
	}
	r.log.Debug("playlist", "live", r.live, "target", m.TargetDuration, "segments", len(m.Segments))
}

func (r *rendition) report(p plan) {
	if p.reset {
		r.log.Warn("the playlist was set back; joining anew")
	}
	if p.lost > 0 {
		r.log.Warn("segments were gone before they were fetched", "segments", p.lost)
	}
}

// enter comes to segment i, and tells the feed if it does not continue the one
// before. Renditions count discontinuities alike by the number that playlists
// give. Some leave it out: then the number of a segment falls as tags leave the
// playlist, so that only the tags between segments are believed.
func (r *rendition) enter(p plan, m *playlist.Media, i int) error {
	s := &m.Segments[i]
	if !r.entered {
		r.entered, r.period = true, s.Discontinuity
		r.feed.epoch = int(s.Discontinuity)
		return nil
	}
	before := m.DiscontinuitySequence
	switch {
	case i > 0:
		before = m.Segments[i-1].Discontinuity
	case p.lost > 0 && m.DiscontinuitySequence > 0:
		before = min(r.period, s.Discontinuity)
	}
	steps := s.Discontinuity - before
	r.period = s.Discontinuity
	reason := "the presentation says so"
	if p.reset && i == p.from {
		steps, reason = max(steps, 1), "the playlist was set back"
	}
	if steps == 0 {
		return nil
	}
	err := r.closeDemuxer() // what waits in it belongs to what was before
	r.feed.discontinuity(int(steps), reason)
	return err
}

// segment fetches one segment and demuxes it.
func (r *rendition) segment(ctx context.Context, m *playlist.Media, s *playlist.Segment) error {
	if s.Gap {
		r.log.Info("segment is marked as a gap", "sequence", s.Sequence)
		return nil
	}
	if err := readable(s.Keys); err != nil {
		return r.fault(s, err)
	}
	if s.Range != nil && s.Range.Length > r.p.cfg.MaxSegment {
		return r.fault(s, fmt.Errorf("%w: it has %d bytes, at most %d are taken", errTooLarge, s.Range.Length, r.p.cfg.MaxSegment))
	}
	body, _, err := r.f.get(ctx, request{
		url: s.URI, part: s.Range, limit: r.p.cfg.MaxSegment,
		timeout: r.p.cfg.RequestTimeout + 2*s.Duration, missing: max(2*m.TargetDuration, leastMissing),
	})
	if err != nil {
		return r.miss(ctx, s, err)
	}
	body, err = r.open(ctx, s.Keys, s.Sequence, body)
	if err == nil {
		err = r.feedSegment(ctx, s, body)
	}
	if err != nil {
		return r.spoilt(ctx, s, err)
	}
	r.missing, r.fed = 0, true
	return nil
}

// miss goes on without a segment that could not be fetched, unless that
// happens too often.
func (r *rendition) miss(ctx context.Context, s *playlist.Segment, err error) error {
	if ctx.Err() != nil {
		return err
	}
	if r.missing++; r.missing > maxMissing || !r.fed && !r.live || errors.Is(err, errTooLarge) {
		return err
	}
	r.log.Warn("segment is missing", "sequence", s.Sequence, "err", err)
	return nil
}

// spoilt goes on without a segment that could not be read, if others could.
func (r *rendition) spoilt(ctx context.Context, s *playlist.Segment, err error) error {
	err = r.fault(s, err)
	if r.missing++; ctx.Err() != nil || r.missing > maxMissing || !r.fed || isFinal(err) {
		return err
	}
	r.log.Warn("segment cannot be read", "sequence", s.Sequence, "err", err)
	_ = r.closeDemuxer() // it says the same again
	return nil
}

// isFinal reports whether err will come again with the next segment.
func isFinal(err error) bool {
	return errors.Is(err, ErrUnsupported) || errors.Is(err, mpegts.ErrPrograms) || errors.Is(err, mpegts.ErrNoMedia)
}

// fault names the segment that err is about.
func (r *rendition) fault(s *playlist.Segment, err error) error {
	if _, ok := errors.AsType[*RequestError](err); ok {
		return err
	}
	return &RequestError{URL: redact(s.URI), Err: err}
}

// feedSegment demuxes a whole segment.
func (r *rendition) feedSegment(ctx context.Context, s *playlist.Segment, body []byte) error {
	isTS, err := formatOf(s, body)
	if err != nil {
		return err
	}
	if r.demux != nil && r.isTS != isTS {
		if err := r.closeDemuxer(); err != nil {
			return err
		}
	}
	if r.demux == nil {
		r.openDemuxer(isTS)
	}
	if s.Map != nil && !isTS {
		if err := r.useMap(ctx, s); err != nil {
			return err
		}
	}
	if r.live && !s.Time.IsZero() {
		r.feed.anchor(s.Time)
	}
	if _, err := r.demux.Write(body); err != nil {
		return err
	}
	return r.demux.EndBody()
}

// formatOf tells MPEG-TS from fMP4 by the first bytes, because names and
// content types are often wrong.
func formatOf(s *playlist.Segment, body []byte) (isTS bool, err error) {
	switch {
	case len(body) == 0:
		return false, errors.New("is empty")
	case s.Map == nil && body[0] == 0x47:
		return true, nil
	case s.Map != nil || len(body) >= 8 && bytes.ContainsAny(body[4:5], "fmsep") && isType(body[4:8]):
		return false, nil
	case bytes.HasPrefix(body, []byte("ID3")) || len(body) > 1 && body[0] == 0xff && body[1]&0xe0 == 0xe0:
		return false, fmt.Errorf("%w: it is packed audio", ErrUnsupported)
	case bytes.HasPrefix(body, []byte("WEBVTT")):
		return false, fmt.Errorf("%w: it is WebVTT", ErrUnsupported)
	}
	return false, fmt.Errorf("is neither MPEG-TS nor fMP4; it begins with %.16q", body)
}

// isType reports whether b is the type of a box that a segment begins with.
func isType(b []byte) bool {
	switch string(b) {
	case "ftyp", "styp", "sidx", "ssix", "moof", "moov", "prft", "emsg", "free":
		return true
	}
	return false
}

func (r *rendition) openDemuxer(isTS bool) {
	r.isTS, r.current = isTS, nil
	if isTS {
		r.demux = mpegts.NewDemuxer(r.feed, mpegts.Config{
			Video: r.p.cfg.Video, Audio: r.p.cfg.Audio, Clock: r.clock, Log: r.log,
		})
		return
	}
	r.demux = cmaf.NewDemuxer(r.feed, cmaf.DemuxerConfig{
		Video: r.p.cfg.Video, Audio: r.p.cfg.Audio, MaxMoov: maxMap, MaxMdat: r.p.cfg.MaxSegment,
	})
}

func (r *rendition) closeDemuxer() error {
	if r.demux == nil {
		return nil
	}
	d := r.demux
	r.demux = nil
	return d.Close()
}

// useMap gives the demuxer the media initialization section of s, unless it
// has it already.
func (r *rendition) useMap(ctx context.Context, s *playlist.Segment) error {
	m := s.Map
	if sameMap(r.current, m) {
		return nil
	}
	body, _, err := r.f.get(ctx, request{
		url: m.URI, part: m.Range, limit: maxMap, timeout: r.p.cfg.RequestTimeout, missing: r.p.cfg.RetryFor,
	})
	if err != nil {
		return err
	}
	// An encrypted one has an IV of its own (RFC 8216 section 4.3.2.5).
	if k := keyOf(m.Keys); k != nil && k.IV == "" {
		return &RequestError{URL: redact(m.URI), Err: errors.New("is encrypted and has no IV")}
	}
	if err := readable(m.Keys); err != nil {
		return &RequestError{URL: redact(m.URI), Err: err}
	}
	if body, err = r.open(ctx, m.Keys, s.Sequence, body); err != nil {
		if _, ok := errors.AsType[*RequestError](err); !ok {
			err = &RequestError{URL: redact(m.URI), Err: err}
		}
		return err
	}
	r.current = m
	if _, err = r.demux.Write(body); err == nil {
		err = r.demux.EndBody()
	}
	if err != nil {
		return &RequestError{URL: redact(m.URI), Err: err}
	}
	return nil
}

func sameMap(a, b *playlist.Map) bool {
	if a == nil || b == nil || a == b {
		return a == b
	}
	ranges := a.Range == nil && b.Range == nil || a.Range != nil && b.Range != nil && *a.Range == *b.Range
	// Signed queries change with each load, and a new map has a new name.
	return ranges && bare(a.URI) == bare(b.URI)
}

func bare(u *url.URL) string { return u.Host + u.EscapedPath() }
