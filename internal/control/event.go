package control

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/broadcastd/broadcastd/internal/store"
)

// An Event says what happened, for those who follow along.
type Event struct {
	Seq     uint64 // consecutive over all organisations
	Time    time.Time
	Type    string // "input.created"
	Org     string // empty: for whoever reaches all organisations
	Input   string // external id or ad-hoc name
	Session string
	Data    map[string]any // without secrets
}

type eventRecord struct {
	Type    string         `json:"type"`
	Org     string         `json:"org,omitempty"`
	Input   string         `json:"input,omitempty"`
	Session string         `json:"session,omitempty"`
	Data    map[string]any `json:"data,omitempty"`
}

// eventLog is the name of the log of events.
const eventLog = "events"

// maxEvent bounds an event in bytes.
const maxEvent = 16 << 10

// notice tells those who wait how far the log of events goes.
type notice struct {
	mu    sync.Mutex
	last  uint64
	grown chan struct{} // closed when last grows; nil: nobody waits
}

func (n *notice) set(seq uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if seq <= n.last {
		return
	}
	n.last = seq
	if n.grown != nil {
		close(n.grown)
		n.grown = nil
	}
}

// after returns a channel that is closed when the log goes further than seq, or
// nil if it does.
func (n *notice) after(seq uint64) <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.last > seq {
		return nil
	}
	if n.grown == nil {
		n.grown = make(chan struct{})
	}
	return n.grown
}

func (s *Service) openEvents(ctx context.Context) error {
	_, last, err := s.cfg.Store.Bounds(ctx, eventLog)
	if err != nil {
		return failed("read the events", err)
	}
	s.events.set(last)
	return nil
}

// Emit adds an event. Its Seq and Time are given to it.
func (s *Service) Emit(ctx context.Context, e Event) error {
	text, err := json.Marshal(eventRecord{e.Type, e.Org, e.Input, e.Session, e.Data})
	if err != nil {
		return fmt.Errorf("control: an event %s that is no JSON: %w", e.Type, err)
	}
	if len(text) > maxEvent {
		return fail(Exhausted, "an event %s of %d bytes, at most %d", e.Type, len(text), maxEvent)
	}
	seq, err := s.cfg.Store.Append(ctx, eventLog, text)
	if err != nil {
		return failed("write an event", err)
	}
	s.events.set(seq)
	return nil
}

// emitFor adds an event of an API key for each of its organisations.
func (s *Service) emitFor(ctx context.Context, orgs []string, event, id string) error {
	for _, org := range orgs {
		if org == AnyOrg {
			org = ""
		}
		if err := s.emitKey(ctx, event, org, id); err != nil {
			return err
		}
	}
	return nil
}

// Events are some of the log of events.
type Events struct {
	Items []Event
	// Next is how far they go: the number to continue after, which is more than
	// that of the last item where others lie between.
	Next uint64
	// Lost says that events after the one asked for are not kept any more.
	Lost bool
}

// Events returns events of an organisation, or of all if org is empty, that come
// after one; at most limit, or 1000. Those that are not there yet are not waited
// for: see WaitEvents.
func (s *Service) Events(ctx context.Context, org string, after uint64, limit int) (Events, error) {
	limit = store.Page(limit)
	first, last, err := s.cfg.Store.Bounds(ctx, eventLog)
	if err != nil {
		return Events{}, failed("read the events", err)
	}
	// A number from before the log was begun anew lies past its end.
	out := Events{Next: after, Lost: after+1 < first && after > 0 || after > last}
	if out.Lost {
		out.Next = min(after, last)
	}
	for len(out.Items) < limit {
		records, err := s.cfg.Store.Read(ctx, eventLog, out.Next, 0)
		if err != nil {
			return Events{}, failed("read the events", err)
		}
		for _, r := range records {
			if len(out.Items) == limit {
				return out, nil
			}
			out.Next = r.Seq
			var e eventRecord
			if err := json.Unmarshal(r.Data, &e); err != nil {
				return Events{}, fmt.Errorf("control: event %d is none", r.Seq)
			}
			if org == "" || e.Org == org {
				out.Items = append(out.Items, Event{r.Seq, r.Time, e.Type, e.Org, e.Input, e.Session, e.Data})
			}
		}
		if len(records) < store.MaxPage {
			break
		}
	}
	return out, nil
}

// LastEvent returns the number of the last event.
func (s *Service) LastEvent() uint64 {
	s.events.mu.Lock()
	defer s.events.mu.Unlock()
	return s.events.last
}

// WaitEvents waits until there is an event after one, or ctx ends.
func (s *Service) WaitEvents(ctx context.Context, after uint64) error {
	grown := s.events.after(after)
	if grown == nil {
		return nil
	}
	select {
	case <-grown:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *Service) trimEvents(ctx context.Context) error {
	for {
		n, err := s.cfg.Store.Trim(ctx, eventLog, s.limit.Events, s.limit.EventAge)
		if err != nil || n < store.MaxTrim {
			return err
		}
	}
}
