package edge

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
	// MaxIdempotencyKey bounds an Idempotency-Key in bytes.
	MaxIdempotencyKey = 255
)

// Replays keeps the answers to requests with an Idempotency-Key
// (draft-ietf-httpapi-idempotency-key-header), in memory alone, because some
// hold a key that is shown once. A request that was refused has done nothing and
// is not kept: it may be sent again, corrected.
type Replays struct {
	most, mostBytes int
	now             func() time.Time

	mu    sync.Mutex
	of    map[[32]byte]*Replay
	kept  list.List // of *Replay, the oldest first
	bytes int
}

// A Replay is one request with its key.
type Replay struct {
	id   [32]byte
	body [32]byte // SHA-256 of the request's
	done chan struct{}

	// Set before done is closed.
	answer *Answer // nil: the request was refused
	at     time.Time
	kept   *list.Element
}

// NewReplays makes one that keeps most answers, of mostBytes together.
func NewReplays(most, mostBytes int, now func() time.Time) *Replays {
	return &Replays{most: most, mostBytes: mostBytes, now: now, of: map[[32]byte]*Replay{}}
}

// ReplayID is what a repeated request has in common with the first: whose it is,
// what it asks for, and the key.
func ReplayID(client, target, key string) [32]byte {
	var b []byte
	for _, s := range []string{client, target, key} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	return sha256.Sum256(b)
}

// Begin returns the answer that there is for a request, waiting for one that is
// under way. If there is none, the caller makes it and calls End, and both
// results are nil.
func (s *Replays) Begin(ctx context.Context, id [32]byte, body []byte) (*Answer, *Replay, *Problem) {
	sum := sha256.Sum256(body)
	for {
		s.mu.Lock()
		s.expire()
		r := s.of[id]
		if r == nil {
			r = &Replay{id: id, body: sum, done: make(chan struct{})}
			s.of[id] = r
			s.mu.Unlock()
			return nil, r, nil
		}
		s.mu.Unlock()
		if r.body != sum {
			return nil, nil, NewProblem(http.StatusUnprocessableEntity, "",
				FieldError{Location: "header.Idempotency-Key", Message: "this key came with another body before; take a new one"})
		}
		select {
		case <-r.done:
		case <-ctx.Done():
			return nil, nil, NewProblem(http.StatusServiceUnavailable, "the request was given up")
		}
		if r.answer != nil {
			return r.answer, nil, nil
		}
	}
}

// End keeps the answer of a request, or lets the next one with its key try: a is
// nil then.
func (s *Replays) End(r *Replay, a *Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer close(r.done)
	if a == nil || a.Len() > s.mostBytes {
		delete(s.of, r.id)
		return
	}
	for s.kept.Len() > 0 && (s.kept.Len() >= s.most || s.bytes+a.Len() > s.mostBytes) {
		s.drop(s.kept.Front())
	}
	r.answer, r.at = a, s.now()
	r.kept = s.kept.PushBack(r)
	s.bytes += a.Len()
}

// expire drops what is too old. s.mu is held.
func (s *Replays) expire() {
	for e := s.kept.Front(); e != nil && s.now().Sub(e.Value.(*Replay).at) >= replayAge; e = s.kept.Front() {
		s.drop(e)
	}
}

func (s *Replays) drop(e *list.Element) {
	r := s.kept.Remove(e).(*Replay)
	s.bytes -= r.answer.Len()
	delete(s.of, r.id)
}
