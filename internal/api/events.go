package api

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/broadcastd/broadcastd/internal/control"
)

// An Event says what happened. Type reset says that events are missing: those
// after the one that the client had last are not kept any more, so that it has
// to read everything again.
type Event struct {
	Seq     uint64         `json:"seq" doc:"Rises by one or more"`
	Time    time.Time      `json:"time"`
	Type    string         `json:"type" example:"input.created"`
	Org     string         `json:"org,omitempty"`
	Input   string         `json:"input,omitempty" doc:"External id of a live input, or the name of an ad-hoc stream"`
	Session string         `json:"session,omitempty"`
	Data    map[string]any `json:"data,omitempty"`
}

const (
	// heartbeat is how often a stream on which nothing happens sends a comment,
	// so that both sides notice when the other is gone.
	heartbeat = 15 * time.Second
	// eventTime is how long a client may take to receive what was written to it.
	eventTime = 10 * time.Second
	// eventPage is how many events are read at a time.
	eventPage = 100
	// reconnect is when a client whose stream broke is to come back.
	reconnect = 2 * time.Second
)

// streams counts the event streams that are open.
type streams struct {
	most, mostOfKey int

	mu    sync.Mutex
	open  int
	ofKey map[string]int
}

// begin counts one more, if there may be one. end counts it out.
func (s *streams) begin(key string) (end func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open >= s.most || s.ofKey[key] >= s.mostOfKey {
		return nil, false
	}
	if s.ofKey == nil {
		s.ofKey = map[string]int{}
	}
	s.open++
	s.ofKey[key]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.open--
		if s.ofKey[key]--; s.ofKey[key] == 0 {
			delete(s.ofKey, key)
		}
	}, true
}

type eventsInput struct {
	Org    string `query:"org" maxLength:"128" doc:"Organisation; absent: all that the key may see"`
	After  string `query:"after" maxLength:"20" pattern:"^([0-9]+|latest)$" doc:"seq of the last event that is known already, or latest: only what happens from now on. Absent: all that is kept"`
	LastID string `header:"Last-Event-ID" maxLength:"20" doc:"The same, as browsers send it when they come back"`
}

type eventsOutput struct{ Body func(huma.Context) }

func (h *Handler) registerEvents() {
	acc := needs(control.StreamsRead)
	acc.stream = true
	register(h, acc, operation{
		id: "follow-events", method: http.MethodGet, path: "/events", tag: "Events", summary: "Follow what happens",
		about: "Server-sent events. Each has its type as event, its seq as id, and an Event as data. A client that comes back with the " +
			"id of the last one misses none; if that is too long ago, the first is a reset. A comment comes every 15 s. The stream ends " +
			"when the key is revoked.",
		events: true,
	}, h.follow)
}

// follow opens a stream of events.
func (h *Handler) follow(ctx context.Context, c caller, in *eventsInput) (*eventsOutput, error) {
	if err := c.may(control.StreamsRead, in.Org); err != nil {
		return nil, err
	}
	after := h.cfg.Control.LastEvent()
	if from := cmp.Or(in.LastID, in.After, "0"); from != "latest" {
		n, err := strconv.ParseUint(from, 10, 64)
		if err != nil {
			return nil, wrong("query.after", "expected the seq of an event")
		}
		after = n
	}
	end, ok := h.streams.begin(clientOf(c.who))
	if !ok {
		return nil, limited(reconnect, "too many event streams are open")
	}
	return &eventsOutput{func(hc huma.Context) {
		defer end()
		_, w := humago.Unwrap(hc)
		f := follower{h: h, c: c, org: in.Org, after: after, w: w, out: http.NewResponseController(w)}
		header := w.Header()
		header.Set("Content-Type", "text/event-stream")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("X-Accel-Buffering", "no") // proxies are to pass on each event at once
		w.WriteHeader(http.StatusOK)
		if err := f.run(ctx); err != nil && ctx.Err() == nil && !errors.Is(err, errKeyEnded) && !errors.Is(err, errClosed) {
			h.cfg.Log.Debug("event stream ended", "key", c.who.KeyID, "err", err)
		}
	}}, nil
}

// clientOf is what an API key is counted under.
func clientOf(who control.Principal) string { return cmp.Or(who.KeyID, "admin") }

var (
	errKeyEnded = errors.New("the API key counts no longer")
	errClosed   = errors.New("the server stops")
)

// A follower is one stream of events.
type follower struct {
	h     *Handler
	c     caller
	org   string // empty: all that the key may see
	after uint64
	w     http.ResponseWriter
	out   *http.ResponseController
}

// run sends events until the client leaves, its key ends or the server does.
func (f *follower) run(ctx context.Context) error {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer context.AfterFunc(f.h.life, func() { end(errClosed) })()
	if k, err := f.h.cfg.Control.APIKey(ctx, f.c.who.KeyID); err == nil && !k.Expires.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, k.Expires, errKeyEnded)
		defer cancel()
	}
	if err := f.write(fmt.Sprintf("retry: %d\n\n", reconnect.Milliseconds())); err != nil {
		return err
	}
	for {
		// Also after each wait: that a key was revoked is an event too.
		if err := f.check(); err != nil {
			return err
		}
		if err := f.send(ctx); err != nil {
			return err
		}
		wait, cancel := context.WithTimeout(ctx, heartbeat)
		quiet := f.h.cfg.Control.WaitEvents(wait, f.after) != nil
		cancel()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if quiet {
			if err := f.write(":\n\n"); err != nil {
				return err
			}
		}
	}
}

// check says whether the key still counts, and takes in what it may see now.
func (f *follower) check() error {
	who, p := f.h.authenticate(f.c.request)
	if p != nil || who.May(control.StreamsRead, f.org) != nil {
		return errKeyEnded
	}
	f.c.who = who
	return nil
}

// send sends the events that there are.
func (f *follower) send(ctx context.Context) error {
	for ctx.Err() == nil {
		events, err := f.h.cfg.Control.Events(ctx, f.org, f.after, eventPage)
		if err != nil {
			return err
		}
		var b bytes.Buffer
		if events.Lost {
			// Who comes back with this number misses nothing more.
			seq := events.Next
			if len(events.Items) > 0 {
				seq = events.Items[0].Seq - 1
			}
			writeEvent(&b, Event{Seq: seq, Time: f.h.cfg.Now().UTC(), Type: "reset"})
		}
		for _, e := range events.Items {
			if f.c.who.May(control.StreamsRead, cmp.Or(e.Org, control.AnyOrg)) == nil {
				writeEvent(&b, Event{e.Seq, e.Time.UTC(), e.Type, e.Org, e.Input, e.Session, e.Data})
			}
		}
		more := events.Next > f.after
		f.after = events.Next
		if b.Len() > 0 {
			if err := f.write(b.String()); err != nil {
				return err
			}
		}
		if !more {
			return nil
		}
	}
	return context.Cause(ctx)
}

// writeEvent writes an event in the form of HTML section 9.2.
func writeEvent(b *bytes.Buffer, e Event) {
	data, err := json.Marshal(e)
	if err != nil {
		return // it came from JSON
	}
	fmt.Fprintf(b, "id: %d\nevent: %s\ndata: %s\n\n", e.Seq, e.Type, data)
}

// write sends text, which the client has to take in time.
func (f *follower) write(text string) error {
	_ = f.out.SetWriteDeadline(time.Now().Add(eventTime)) // not every ResponseWriter has one
	if _, err := f.w.Write([]byte(text)); err != nil {
		return err
	}
	return f.out.Flush()
}
