package moqt

import (
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// nobody is a handler that is never called: a bench answers instead.
type nobody struct{}

func (nobody) HandleSubscribe(*SubscribeRequest)                   {}
func (nobody) HandlePublish(*PublishRequest)                       {}
func (nobody) HandleFetch(*FetchRequest)                           {}
func (nobody) HandleTrackStatus(*TrackStatusRequest)               {}
func (nobody) HandlePublishNamespace(*PublishNamespaceRequest)     {}
func (nobody) HandleSubscribeNamespace(*SubscribeNamespaceRequest) {}
func (nobody) HandleSubscribeTracks(*SubscribeTracksRequest)       {}

// callFor makes a call of the application, which i chooses.
func (b *bench) callFor(i byte, sid streamID, name track.Name, tr *track.Track) {
	calls := len(b.replies)
	switch i % 13 {
	case 0:
		to := b.reply()
		b.handle(evSubscribe{sid: sid, name: name, started: func(_ *track.Subscription, err error) { to <- reply{err: err} }})
	case 1:
		to := b.reply()
		b.handle(evPublish{sid: sid, t: tr, answer: func(err error) { to <- reply{err: err} }})
	case 2:
		b.handle(evAnnounce{sid: sid, ns: name.Namespace, src: oneTrack{tr}, reply: b.reply()})
	case 3:
		b.handle(evNamespaces{sid: sid, queue: newNamespaceQueue()})
	case 5:
		b.handle(evTracks{sid: sid, reply: b.reply(), ended: func(error) {}})
	case 6:
		b.handle(evMoveTracks{eitherStream(i / 8), name.Namespace, b.reply()})
	case 7:
		to := b.reply()
		b.handle(evOffer{sid, eitherStream(i / 8), Offer{
			Name: name, Track: tr, Expires: b.now.Add(time.Second),
			Answered: func(err error) { to <- reply{err: err} },
		}})
	case 8:
		b.handle(evExpire{eitherStream(i / 8), b.now.Add(time.Second)})
	case 9:
		b.handle(evRequestGoaway{eitherStream(i / 8), "", time.Second})
	case 10:
		b.handle(evStarted{eitherStream(i / 8)})
	case 4:
		to := b.reply()
		b.handle(evUpdate{eitherStream(i / 8), track.SubscribeUpdate{
			Forward: new(i&8 == 0), NewGroup: new(uint64(0)),
			Done: func(_ track.Updated, err error) { to <- reply{err: err} },
		}})
	case 11:
		b.fetch(sid, name, tr)
	case 12:
		to := b.reply()
		b.handle(evTrackStatus{sid, name, func(_ TrackStatus, err error) { to <- reply{err: err} }})
	}
	if b.c.err != nil && len(b.replies) > calls && len(b.replies[len(b.replies)-1]) == 0 {
		b.replies = b.replies[:len(b.replies)-1] // the session answers those itself
	}
}

type oneTrack struct{ t *track.Track }

func (s oneTrack) Track(string) (*track.Track, bool) { return s.t, true }

// answers sets what the handler says.
func (b *bench) answers(i byte, tr *track.Track) {
	b.answer = func(sid streamID) event {
		switch st := b.c.streams[sid]; {
		case i%3 == 0 || st == nil:
			return nil
		case i%3 == 1:
			return evReject{sid: sid, code: wire.RequestUninterested}
		default:
			switch r := st.role.(type) {
			case *fetching:
				rng, _, err := (&FetchRequest{Range: r.rng}).Bounds(tr)
				if err != nil {
					return evReject{sid: sid, code: err.Code}
				}
				return evAcceptFetch{sid: sid, t: tr, reader: tr.Fetch(rng, track.Ascending), end: rng.End}
			case telling:
				return evAcceptStatus{sid: sid}
			case *serving:
				return evAcceptSubscribe{sid, tr}
			case *feed:
				return evAcceptPublish{sid: sid, t: r.track}
			}
			return evAccept{sid}
		}
	}
}
