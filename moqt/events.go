package moqt

import (
	"time"

	"github.com/broadcastd/broadcastd/moqt/egress"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A streamID names a stream within one session: below zero those that we open,
// above zero those of the peer.
type streamID int64

// An event is what happened. The core takes one at a time.
type event any

// What the transport reports.
type (
	// evOpened: the peer opened a request stream.
	evOpened struct{ sid streamID }
	// evControl: a unidirectional stream of the peer is a control stream.
	evControl struct{ sid streamID }
	// evBytes: bytes of a request or control stream. The core keeps none of b.
	evBytes struct {
		sid streamID
		b   []byte
	}
	// evStarted: a stream of ours is open.
	evStarted struct{ sid streamID }
	evFin     struct{ sid streamID }
	evReset   struct {
		sid  streamID
		code wire.ResetCode
	}
	// evStopped: the peer will not read our half any further.
	evStopped struct {
		sid  streamID
		code wire.ResetCode
	}
	// evFailed: a stream could not be opened, or would not take a message.
	evFailed struct {
		sid streamID
		err error
	}
	// evSubgroup: a data stream has begun with this header.
	evSubgroup struct {
		sid    streamID
		header wire.SubgroupHeader
	}
	// evSubgroupEnd: a data stream is over, whatever the reason. err says what
	// was wrong with its bytes, if anything was.
	evSubgroupEnd struct {
		sid streamID
		err error
	}
	evDatagram struct{ b []byte }
	// evViolation: the peer broke a rule that its stream's reader checks.
	evViolation struct{ err error }
	// evTimer: the time that next gave has come.
	evTimer struct{}
	// evLost: the connection is gone.
	evLost struct{ err error }
	// evServed: everything of an outgoing subscription was sent.
	evServed struct {
		sid     streamID
		code    wire.PublishDoneCode
		reason  string
		streams uint64
	}
)

// What the application wants. The session has numbered the streams.
type (
	evSubscribe struct {
		sid   streamID
		name  track.Name
		opt   track.SubscribeOptions
		into  *track.Track
		keep  bool // the track outlives the subscription
		ended func(error)
		// started is called once, with the answer.
		started func(*track.Subscription, error)
		hold    *hold
	}
	// evUpdate changes a subscription that we are the subscriber of.
	evUpdate struct {
		sid streamID
		u   track.SubscribeUpdate
	}
	evPublish struct {
		sid    streamID
		t      *track.Track
		answer func(error)
	}
	// evOffer offers a track to the SUBSCRIBE_TRACKS of the peer on stream of.
	evOffer struct {
		sid, of streamID
		offer   Offer
	}
	evTracks struct {
		sid    streamID
		prefix track.Namespace
		opt    TracksOptions
		reply  chan reply
		ended  func(error) // after an answer that accepts
	}
	evMoveTracks struct {
		sid    streamID
		prefix track.Namespace
		reply  chan reply
	}
	evAnnounce struct {
		sid   streamID
		ns    track.Namespace
		src   track.Source
		reply chan reply
	}
	evNamespaces struct {
		sid    streamID
		prefix track.Namespace
		queue  *namespaceQueue
	}
	// evCancel ends a request from our side.
	evCancel struct {
		sid  streamID
		code wire.ResetCode
	}
	evAcceptSubscribe struct {
		sid streamID
		t   *track.Track
	}
	evAcceptPublish struct {
		sid streamID
		t   *track.Track
		// keep: the track outlives the publication.
		keep bool
		opt  *track.SubscribeOptions // nil: everything
	}
	evAccept struct{ sid streamID }
	evReject struct {
		sid      streamID
		code     wire.RequestCode
		reason   string
		retry    time.Duration // 0: as is usual for the code
		redirect *wire.Redirect
	}
	// evExpire sets when a request of the peer ends.
	evExpire struct {
		sid streamID
		at  time.Time
	}
	// evRequestGoaway asks the peer to make one request elsewhere.
	evRequestGoaway struct {
		sid     streamID
		uri     string
		timeout time.Duration
	}
	// evUpdateAnswer answers the oldest actAskUpdate of a stream.
	evUpdateAnswer struct {
		sid streamID
		// expires is what ExpireAt was given last, nil for nothing.
		expires *time.Time
		err     error
	}
	evNamespace struct {
		sid    streamID
		ns     track.Namespace
		active bool
	}
	evGoaway struct {
		uri     string
		timeout time.Duration
	}
	evClose struct {
		code   wire.SessionCode
		reason string
	}
)

// A reply answers a call of the application.
type reply struct{ err error }

// An action is what the core wants done. Actions are done in order, and none
// of them waits.
type action any

type (
	// actOpen opens a request stream; what is written before it is open waits.
	actOpen struct {
		sid  streamID
		wait time.Duration // for stream credit; then evFailed
	}
	actWrite struct {
		sid streamID
		b   []byte
	}
	actFin   struct{ sid streamID }
	actReset struct {
		sid  streamID
		code wire.ResetCode
	}
	// actStop stops reading a stream of any kind.
	actStop struct {
		sid  streamID
		code wire.ResetCode
	}
	// actForget: no more events of the stream are wanted.
	actForget struct{ sid streamID }
	actClose  struct{ err *SessionError }
	// actBind lets a data stream fill a track from its first byte on.
	actBind struct {
		sid    streamID
		t      *track.Track
		header wire.SubgroupHeader
	}
	// actServe starts sending a track; evServed comes when it is done.
	actServe struct {
		sid streamID
		d   egress.Sub
	}
	actServeUpdate struct {
		sid streamID
		d   egress.Sub
	}
	// actServeStop cuts what is being sent; evServed still comes.
	actServeStop struct {
		sid  streamID
		code wire.ResetCode
	}
	// actAsk hands a request to the handler, or to src if that covers it.
	actAsk struct {
		req any // *SubscribeRequest and so on
		src track.Source
	}
	// actOver ends the context of a request.
	actOver struct {
		req   *request
		cause error
	}
	actReply struct {
		to chan reply
		r  reply
	}
	actStarted struct {
		f    func(*track.Subscription, error)
		t    *track.Track
		hold *hold
		err  error
	}
	actUpdated struct {
		f   func(track.Updated, error)
		r   track.Updated
		err error
	}
	actExpires struct {
		hold *hold
		at   time.Time // zero: never, or nobody knows
	}
	// actAskUpdate asks whoever answers a request about an update of it.
	actAskUpdate struct {
		sid    streamID
		req    *request // nil for a subscription that was offered
		f      func(wire.Params) error
		params wire.Params
	}
	// actTold tells of parameters that need no consent.
	actTold struct {
		f      func(wire.Params) error
		params wire.Params
	}
	actNewGroup struct {
		t *track.Track
		n uint64
	}
	actBlocked struct {
		f    func(track.Name)
		name track.Name
	}
	// actMoved tells of a GOAWAY for one request.
	actMoved struct {
		f       func(uri string, timeout time.Duration)
		uri     string
		timeout time.Duration
	}
	actEndTrack struct {
		t      *track.Track
		code   wire.PublishDoneCode
		reason string
	}
	actTell struct {
		f   func(error)
		err error
	}
	actReady  struct{ setup PeerSetup }
	actDrain  struct{ goaway wire.Goaway }
	actNotice struct {
		queue *namespaceQueue
		ev    track.NamespaceEvent
		err   error
	}
	actCount struct{ kind, outcome string }
)
