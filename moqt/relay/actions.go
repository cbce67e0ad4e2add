package relay

import (
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// An action is something that the core wants done. None of them blocks but
// actConnect, which Relay runs aside and answers with core.connected.
type action any

type (
	// actConnect subscribes at a session. A track that exists is continued.
	actConnect struct {
		src   *source
		name  wire.FullTrackName
		epoch uint64
		into  *track.Track
	}
	// actRelease ends a subscription at a session.
	actRelease struct{ up upstream }
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
	// actTake and actRefuse answer a PUBLISH. into is the track to continue,
	// nil for the one that the offer has brought.
	actTake struct {
		offer publication
		into  *track.Track
	}
	actRefuse struct {
		offer  publication
		code   wire.RequestCode
		reason string
	}
	// actTell tells a watcher that a namespace is published, or no longer.
	actTell struct {
		w      *watcher
		ns     wire.Namespace
		active bool
	}
)

// A publication is a track that a session offers. Its methods do not block.
type publication interface {
	upstream
	accept(into *track.Track)
	refuse(wire.RequestCode, string)
}

// perform does what the core asked for, in order.
func (r *Relay) perform(acts []action) {
	for _, a := range acts {
		switch a := a.(type) {
		case actConnect:
			r.connect(a)
		case actRelease:
			a.up.Close()
		case actAccept:
			a.sub.accept(a.t)
		case actReject:
			a.sub.reject(a.code, a.reason)
		case actAbortOpen:
			a.t.AbortOpen(a.code)
		case actEnd:
			r.metrics.tracksEnded.Inc()
			a.t.End(a.code, a.reason)
		case actTake:
			a.offer.accept(a.into)
		case actRefuse:
			a.offer.refuse(a.code, a.reason)
		case actTell:
			if a.active {
				a.w.sink.Announce(a.ns)
			} else {
				a.w.sink.Withdraw(a.ns)
			}
		}
	}
}
