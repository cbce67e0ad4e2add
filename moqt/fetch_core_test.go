package moqt

import (
	"bytes"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// What a bench does for FETCH, beside core_test.go.

func (b *bench) doFetch(a action) {
	switch a := a.(type) {
	case actServeFetch:
		b.sending[a.sid]++
	case actServeFetchStop:
		if b.sending[a.sid]--; b.sending[a.sid] < 0 {
			b.t.Fatalf("the fetch of stream %d is stopped but not sent", a.sid)
		}
		b.calls = append(b.calls, evFetched{sid: a.sid, code: a.code})
	case actFill:
		b.filled[a.sid] = a.sink
	case actCall:
		a.f()
	}
}

// stopFill ends the reader of a data stream that answers a FETCH.
func (b *bench) stopFill(sid streamID) {
	if b.filled[sid] != nil {
		delete(b.filled, sid)
		b.calls = append(b.calls, evFetchEnd{sid, &StreamError{Code: wire.ResetCancelled}})
	}
}

// fetchStream feeds a whole data stream that answers a FETCH. One that nobody
// reads yet is lost with the bench's patience.
func (b *bench) fetchStream(sid streamID, in *inbound) {
	b.handle(evFetchStream{sid, in.fetch})
	if s := b.filled[sid]; s != nil {
		delete(b.filled, sid)
		b.handle(evFetchEnd{sid, s.fill(in.rest, bytes.NewReader(nil), make([]byte, 64))})
	}
}

func (b *bench) fetch(sid streamID, name track.Name, tr *track.Track) {
	to, over := b.reply(), b.reply()
	rng := track.Range{End: track.Location{Group: 3}}
	b.handle(evFetch{
		sid: sid, name: name, rng: rng, filler: tr.Fill(rng),
		started: func(_ FetchOK, _ *track.Track, _ *track.FetchReader, err error) { to <- reply{err: err} },
		done:    func(err error) { over <- reply{err: err} },
	})
}

func (b *bench) finishFetches() {
	c := b.c
	if c.fetching != 0 || len(c.fetches)+len(c.filling)+len(c.joins) != 0 {
		b.t.Errorf("left over: %d fetches of the peer, %d of ours, %d of their streams, %d joining",
			c.fetching, len(c.fetches), len(c.filling), len(c.joins))
	}
}
