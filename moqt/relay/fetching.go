package relay

import (
	"errors"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// HandleFetch implements moqt.Handler.
func (p *peer) HandleFetch(req *moqt.FetchRequest) {
	ns, ok := p.authorize(AuthRequest{Action: FetchTrack, Namespace: req.Name.Namespace, Track: req.Name.Name}, req.Params, req)
	if ok {
		p.inquire(track.Name{Namespace: ns, Name: req.Name.Name}, &remoteFetch{req: req}, req.OnEnd)
	}
}

// HandleTrackStatus implements moqt.Handler.
func (p *peer) HandleTrackStatus(req *moqt.TrackStatusRequest) {
	ns, ok := p.authorize(AuthRequest{Action: TrackStatus, Namespace: req.Name.Namespace, Track: req.Name.Name}, req.Params, req)
	if ok {
		p.inquire(track.Name{Namespace: ns, Name: req.Name.Name}, &remoteStatus{req}, req.OnEnd)
	}
}

func (p *peer) inquire(name track.Name, q inquiry, onEnd func(func(error))) {
	p.r.post(func(now time.Time) []action {
		p.r.core.readers++
		return p.r.core.inquire(now, name, q)
	})
	onEnd(func(error) {
		p.r.post(func(time.Time) []action {
			p.r.core.readers--
			return p.r.core.uninquire(name, q)
		})
	})
}

type remoteFetch struct {
	req *moqt.FetchRequest
	at  time.Time // the relay's loop only
}

func (f *remoteFetch) reject(code wire.RequestCode, reason string) { f.req.Reject(code, reason) }

func (f *remoteFetch) bounds(t *track.Track) (track.Range, bool, *track.RequestError) {
	return f.req.Bounds(t)
}

func (f *remoteFetch) patience() time.Duration { return f.req.FillTimeout() }
func (f *remoteFetch) began(now time.Time)     { f.at = now }
func (f *remoteFetch) since() time.Time        { return f.at }

func (f *remoteFetch) accept(t *track.Track, r track.Range, endOfTrack bool) {
	f.req.Accept(t, t.Fetch(r, f.req.Order()), r.End, endOfTrack)
}

type remoteStatus struct{ req *moqt.TrackStatusRequest }

func (s *remoteStatus) reject(code wire.RequestCode, reason string) { s.req.Reject(code, reason) }
func (s *remoteStatus) tell(t *track.Track)                         { s.req.Serve(t) }

// fetch asks a session for a range. Run's goroutine owns asks.
func (r *Relay) fetch(a actFetch) {
	theirs, _ := respell(a.name.Namespace, a.src.ns, a.src.theirs)
	r.asks[a.epoch] = a.src.peer.s.FetchInto(track.Name{Namespace: theirs, Name: a.name.Name}, a.r,
		moqt.FetchOptions{FillTimeout: max(a.wait.Truncate(time.Millisecond), time.Millisecond)}, a.into,
		func(moqt.FetchOK, error) {},
		func(err error) { r.fetched(a.epoch, err) })
}

// recall asks the History for a range.
func (r *Relay) recall(a actRecall) {
	cancel, ok := r.cfg.History.Fetch(a.name, a.r, a.into, func(err error) { r.fetched(a.epoch, err) })
	if !ok {
		a.into.Abort(wire.ResetInternalError)
		r.fetched(a.epoch, errNoHistory)
		return
	}
	r.asks[a.epoch] = cancel
}

var errNoHistory = errors.New("relay: no history of the track")

func (r *Relay) fetched(epoch uint64, err error) {
	result := "done"
	if err != nil {
		result = "failed"
	}
	r.metrics.fetches.WithLabelValues(result).Inc()
	r.post(func(now time.Time) []action {
		delete(r.asks, epoch)
		return r.core.fetched(now, epoch, err)
	})
}
