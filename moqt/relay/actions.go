package relay

import (
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// An action is something that the core wants done. None of them blocks.
type action any

type (
	// actConnect subscribes at a session; core.connected takes the answer. A
	// track that exists is continued.
	actConnect struct {
		src   *source
		name  wire.FullTrackName
		epoch uint64
		into  *track.Track
		// paused wants no objects yet, only to know of the track.
		paused   bool
		newGroup *uint64 // what its first subscribers ask for
	}
	// actUnask gives up a connect that was not answered.
	actUnask struct{ epoch uint64 }
	// actRelease ends a subscription at a session.
	actRelease struct{ up upstream }
	// actUpdate changes a subscription at a session.
	actUpdate struct {
		up       upstream
		forward  *bool
		newGroup *uint64
	}
	// actHear has the wishes for a new group of t come to core.wantGroup.
	actHear struct {
		name wire.FullTrackName
		t    *track.Track
	}
	// actAccept and actReject answer a subscriber.
	actAccept struct {
		sub subscriber
		t   *track.Track
	}
	actReject struct {
		sub    subscriber
		code   wire.RequestCode
		reason string
	}
	// actAcceptFetch, actTellStatus and actRefuseInquiry answer inquiries.
	actAcceptFetch struct {
		f          fetcher
		t          *track.Track
		r          track.Range
		endOfTrack bool
	}
	actTellStatus struct {
		q prober
		t *track.Track
	}
	actRefuseInquiry struct {
		q      inquiry
		code   wire.RequestCode
		reason string
	}
	// actFetch asks a session for a range, actRecall the History; core.fetched
	// takes the end.
	actFetch struct {
		src   *source
		name  wire.FullTrackName
		epoch uint64
		r     track.Range
		into  *track.Filler
		wait  time.Duration // FILL_TIMEOUT
	}
	actRecall struct {
		epoch uint64
		name  wire.FullTrackName
		r     track.Range
		into  *track.Filler
	}
	// actEndFill lets go of the readers that waited for a hole to be filled.
	actEndFill struct{ guard *track.Filler }
	// actAbortOpen cuts the groups that a lost publisher has left open.
	actAbortOpen struct {
		t    *track.Track
		code wire.ResetCode
	}
	// actEnd ends a track for all its readers.
	actEnd struct {
		t      *track.Track
		code   wire.PublishDoneCode
		reason string
	}
	// actDrop lets go of what a track holds that has ended.
	actDrop struct{ t *track.Track }
	// actTake and actRefuse answer a PUBLISH. into is the track to continue,
	// nil for the one that the offer has brought.
	actTake struct {
		offer  publication
		into   *track.Track
		paused bool
	}
	actRefuse struct {
		offer  publication
		code   wire.RequestCode
		reason string
	}
	// actOffer offers a track to a session that wants to hear of tracks.
	actOffer struct {
		to   *tracker
		name wire.FullTrackName
		t    *track.Track
	}
	// actTell tells a watcher that a namespace is published, or no longer.
	actTell struct {
		w      *watcher
		ns     wire.Namespace
		active bool
	}
)

// perform does what the core asked for, in order.
func (r *Relay) perform(acts []action) {
	for _, a := range acts {
		switch a := a.(type) {
		case actConnect:
			r.connect(a)
		case actUnask:
			r.unask(a.epoch)
		case actRelease:
			a.up.Close()
		case actUpdate:
			a.up.update(a.forward, a.newGroup)
		case actHear:
			a.t.OnGroupRequest(func(n uint64) {
				r.post(func(now time.Time) []action { return r.core.wantGroup(now, a.name, a.t, n) })
			})
		case actAccept:
			a.sub.accept(a.t)
		case actReject:
			a.sub.reject(a.code, a.reason)
		case actAcceptFetch:
			a.f.accept(a.t, a.r, a.endOfTrack)
		case actTellStatus:
			a.q.tell(a.t)
		case actRefuseInquiry:
			a.q.reject(a.code, a.reason)
		case actFetch:
			r.fetch(a)
		case actRecall:
			r.recall(a)
		case actEndFill:
			a.guard.Abort(wire.ResetInternalError)
		case actAbortOpen:
			a.t.AbortOpen(a.code)
		case actEnd:
			r.metrics.tracksEnded.Inc()
			a.t.End(a.code, a.reason)
		case actDrop:
			a.t.Drop()
		case actTake:
			a.offer.accept(a.into, a.paused)
		case actRefuse:
			a.offer.refuse(a.code, a.reason)
		case actOffer:
			a.to.sink.offer(a.name, a.t)
		case actTell:
			if a.active {
				a.w.sink.Announce(a.ns)
			} else {
				a.w.sink.Withdraw(a.ns)
			}
		}
	}
}
