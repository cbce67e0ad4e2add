package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// An Event says that something has happened.
type Event struct {
	Seq     uint64         `json:"seq"` // rises by one or more
	Time    time.Time      `json:"time"`
	Type    string         `json:"type"` // such as "input.created", or EventReset
	Org     string         `json:"org,omitempty"`
	Input   string         `json:"input,omitempty"`
	Session string         `json:"session,omitempty"`
	Data    map[string]any `json:"data,omitempty"`
}

// EventReset is the Type that says that events are missing, because the server no
// longer has those after the one that was known: read everything again.
const EventReset = "reset"

// Events is the log of what happens on a server.
type Events struct{ c *Client }

// EventOptions say which events to follow.
type EventOptions struct {
	Org string // empty: that of the Config
	// After is the Seq of the last event that is known already. Zero means all
	// that the server still has, or with Latest none of it.
	After  uint64
	Latest bool
	// Idle is how long nothing at all may come, not even a sign of life, before
	// the connection counts as lost. Zero means a minute.
	Idle time.Duration
}

// Follow yields the events after o.After, then each one as it happens, until ctx
// ends. A connection that is lost is opened again and goes on where it was, so
// that no event is missing and none comes twice. The last pair is an error: the
// cause of ctx, an *Error that a repetition does not help against, or
// ErrUnreachable after as many attempts in a row as Config.Retries allows.
func (s Events) Follow(ctx context.Context, o EventOptions) iter.Seq2[Event, error] {
	if o.Idle <= 0 {
		o.Idle = time.Minute
	}
	return func(yield func(Event, error) bool) {
		f := follower{c: s.c, o: o, yield: yield, retry: defaultRetry}
		for attempt := 0; ; attempt++ {
			f.worked = false
			err := f.once(ctx)
			if f.stopped {
				return
			}
			if ctx.Err() != nil {
				yield(Event{}, context.Cause(ctx))
				return
			}
			if f.worked {
				attempt = 0
			}
			pause, ok := repeatAlways.again(err, attempt)
			if !ok || attempt >= s.c.cfg.Retries {
				yield(Event{}, err)
				return
			}
			if err := sleep(ctx, max(pause, f.retry)); err != nil {
				yield(Event{}, err)
				return
			}
		}
	}
}

// defaultRetry is how long to wait between connections where the server does not
// say.
const defaultRetry = time.Second

// A follower is one run of Follow.
type follower struct {
	c       *Client
	o       EventOptions
	yield   func(Event, error) bool
	last    string        // id of the last event
	retry   time.Duration // that the server wants between connections
	worked  bool          // the last connection did: something came
	stopped bool          // by the caller
}

var errQuiet = errors.New("nothing came any more")

// once reads one connection to its end, which is an error in any case.
func (f *follower) once(outer context.Context) error {
	ctx, cancel := context.WithCancelCause(outer)
	defer cancel(nil)
	quiet := time.AfterFunc(f.o.Idle, func() { cancel(errQuiet) })
	defer quiet.Stop()
	q := url.Values{}
	setIf(q, "org", f.c.org(f.o.Org))
	switch {
	case f.last != "":
	case f.o.After > 0:
		q.Set("after", strconv.FormatUint(f.o.After, 10))
	case f.o.Latest:
		q.Set("after", "latest")
	}
	k := call{method: http.MethodGet, path: "/events", query: q}
	req, err := f.c.request(ctx, k, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	if f.last != "" {
		req.Header.Set("Last-Event-ID", f.last)
	}
	res, err := f.c.cfg.HTTPClient.Do(req)
	if err != nil {
		return lost(outer, ctx, k, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return refused(k, res)
	}
	if !strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		return fmt.Errorf("%w: %s is not text/event-stream", ErrResponse, k.name())
	}
	err = f.read(bufio.NewReaderSize(alive{res.Body, func() { quiet.Reset(f.o.Idle); f.worked = true }}, 4096))
	if errors.Is(err, ErrResponse) {
		return err
	}
	return lost(outer, ctx, k, err)
}

// cause returns why ctx ended, or err if it has not.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// alive is a reader that tells when something came.
type alive struct {
	r    io.Reader
	came func()
}

func (a alive) Read(p []byte) (int, error) {
	n, err := a.r.Read(p)
	if n > 0 {
		a.came()
	}
	return n, err
}

// read hands on what a stream of events brings (HTML, section 9.2), until it
// ends.
func (f *follower) read(r *bufio.Reader) error {
	var p eventParser
	for {
		line, err := readLine(r)
		if err != nil {
			return err
		}
		m, ok, err := p.line(line)
		if err != nil {
			return err
		}
		if p.retry > 0 {
			f.retry = min(p.retry, waitMost)
		}
		if !ok || len(m.data) == 0 {
			continue
		}
		var e Event
		if err := json.Unmarshal(m.data, &e); err != nil {
			return fmt.Errorf("%w: event %q: %w", ErrResponse, m.id, err)
		}
		if m.id != "" {
			f.last = m.id
			if n, err := strconv.ParseUint(m.id, 10, 64); err == nil && e.Seq == 0 {
				e.Seq = n
			}
		}
		if e.Type == "" {
			e.Type = m.kind
		}
		if !f.yield(e, nil) {
			f.stopped = true
			return nil
		}
	}
}

// maxEvent bounds one event, and one line, in bytes.
const maxEvent = 1 << 20

// readLine returns the next line without its end: \n, \r\n or the stream's last
// bytes do not count as one.
func readLine(r *bufio.Reader) ([]byte, error) {
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxEvent {
			return nil, fmt.Errorf("%w: a line of more than %d bytes", ErrResponse, maxEvent)
		}
		if err == nil {
			return bytes.TrimSuffix(line[:len(line)-1], []byte{'\r'}), nil
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return nil, err
		}
	}
}

// A message is one event on the wire.
type message struct {
	id, kind string
	data     []byte
}

// An eventParser puts messages together from lines.
type eventParser struct {
	m     message
	retry time.Duration
}

// line takes the next line; ok says that a message is whole.
func (p *eventParser) line(line []byte) (m message, ok bool, err error) {
	if len(line) == 0 {
		m, p.m = p.m, message{}
		return m, true, nil
	}
	name, value, _ := bytes.Cut(line, []byte{':'})
	value = bytes.TrimPrefix(value, []byte{' '})
	switch string(name) {
	case "id":
		if !bytes.ContainsRune(value, 0) {
			p.m.id = string(value)
		}
	case "event":
		p.m.kind = string(value)
	case "data":
		if len(p.m.data) > 0 {
			p.m.data = append(p.m.data, '\n')
		}
		p.m.data = append(p.m.data, value...)
		if len(p.m.data) > maxEvent {
			return m, false, fmt.Errorf("%w: an event of more than %d bytes", ErrResponse, maxEvent)
		}
	case "retry":
		if ms, err := strconv.ParseUint(string(value), 10, 31); err == nil {
			p.retry = time.Duration(ms) * time.Millisecond
		}
	}
	return m, false, nil
}
