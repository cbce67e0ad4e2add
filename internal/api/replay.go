package api

import (
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"net/http"
	"sync"
	"time"
)

const (
	// replayAge is how long the answer to an Idempotency-Key is kept.
	replayAge = 24 * time.Hour
	// maxIdempotencyKey bounds an Idempotency-Key in bytes.
	maxIdempotencyKey = 255
)

// replays keeps the answers to requests with an Idempotency-Key
// (draft-ietf-httpapi-idempotency-key-header), in memory alone, because some
// hold a key that is shown once. A request that was refused has done nothing and
// is not kept: it may be sent again, corrected.
type replays struct {
	most, mostBytes int
	now             func() time.Time

	mu    sync.Mutex
	of    map[[32]byte]*replay
	kept  list.List // of *replay, the oldest first
	bytes int
}

type replay struct {
	id   [32]byte
	body [32]byte // SHA-256 of the request's
	done chan struct{}

	// Set before done is closed.
	answer *response // nil: the request was refused
	at     time.Time
	kept   *list.Element
}

func newReplays(l Limits, now func() time.Time) *replays {
	return &replays{most: l.Replays, mostBytes: l.ReplayBytes, now: now, of: map[[32]byte]*replay{}}
}

// replayID is what a repeated request has in common with the first: whose it is,
// what it asks for, and the key.
func replayID(client, target, key string) [32]byte {
	var b []byte
	for _, s := range []string{client, target, key} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	return sha256.Sum256(b)
}

// begin returns the answer that there is for a request, waiting for one that is
// under way. If there is none, the caller makes it and calls end, and both
// results are nil.
func (s *replays) begin(ctx context.Context, id [32]byte, body []byte) (*response, *replay, *Problem) {
	sum := sha256.Sum256(body)
	for {
		s.mu.Lock()
		s.expire()
		r := s.of[id]
		if r == nil {
			r = &replay{id: id, body: sum, done: make(chan struct{})}
			s.of[id] = r
			s.mu.Unlock()
			return nil, r, nil
		}
		s.mu.Unlock()
		if r.body != sum {
			return nil, nil, newProblem(http.StatusUnprocessableEntity, "",
				FieldError{"header.Idempotency-Key", "this key came with another body before; take a new one"})
		}
		select {
		case <-r.done:
		case <-ctx.Done():
			return nil, nil, newProblem(http.StatusServiceUnavailable, "the request was given up")
		}
		if r.answer != nil {
			return r.answer, nil, nil
		}
	}
}

// end keeps the answer of a request, or lets the next one with its key try: a is
// nil then.
func (s *replays) end(r *replay, a *response) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer close(r.done)
	if a == nil || a.body.Len() > s.mostBytes {
		delete(s.of, r.id)
		return
	}
	for s.kept.Len() > 0 && (s.kept.Len() >= s.most || s.bytes+a.body.Len() > s.mostBytes) {
		s.drop(s.kept.Front())
	}
	r.answer, r.at = a, s.now()
	r.kept = s.kept.PushBack(r)
	s.bytes += a.body.Len()
}

// expire drops what is too old. s.mu is held.
func (s *replays) expire() {
	for e := s.kept.Front(); e != nil && s.now().Sub(e.Value.(*replay).at) >= replayAge; e = s.kept.Front() {
		s.drop(e)
	}
}

func (s *replays) drop(e *list.Element) {
	r := s.kept.Remove(e).(*replay)
	s.bytes -= r.answer.body.Len()
	delete(s.of, r.id)
}
