package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/broadcastd/broadcastd/internal/control"
	"github.com/broadcastd/broadcastd/internal/control/controltest"
	"github.com/broadcastd/broadcastd/internal/store/memstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A listener reads a stream of events.
type listener struct {
	t     testing.TB
	lines *bufio.Scanner
	res   *http.Response
}

// listen opens a stream on a server of ts. It ends with the test.
func listen(ts *tester, query, key string, header ...string) *listener {
	ts.Helper()
	srv := httptest.NewServer(ts)
	ctx, cancel := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, "GET", srv.URL+Base+"/events"+query, nil)
	if err != nil {
		ts.Fatal(err)
	}
	r.Header.Set("X-API-Key", key)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	client := &http.Client{Transport: &http.Transport{}}
	res, err := client.Do(r)
	if err != nil {
		ts.Fatal(err)
	}
	ts.Cleanup(func() {
		cancel()
		res.Body.Close()
		client.CloseIdleConnections()
		srv.Close()
	})
	return &listener{ts, bufio.NewScanner(res.Body), res}
}

// next returns the next event, or a comment as one of the type ":".
func (l *listener) next() (e Event, ok bool) {
	l.t.Helper()
	var id, kind string
	for l.lines.Scan() {
		line := l.lines.Text()
		name, value, _ := strings.Cut(line, ": ")
		switch name {
		case ":":
			return Event{Type: ":"}, true
		case "id":
			id = value
		case "event":
			kind = value
		case "data":
			if err := json.Unmarshal([]byte(value), &e); err != nil {
				l.t.Fatalf("%v in %s", err, line)
			}
		case "":
			if kind == "" {
				continue // of retry
			}
			if kind != e.Type || id != fmt.Sprint(e.Seq) {
				l.t.Errorf("event %s with id %s has the data %+v", kind, id, e)
			}
			return e, true
		}
	}
	return e, false
}

func (l *listener) want(kind, input string) Event {
	l.t.Helper()
	e, ok := l.next()
	if !ok || e.Type != kind || e.Input != input {
		l.t.Fatalf("got %+v, %t, want %s of %q", e, ok, kind, input)
	}
	return e
}

func TestEventsReplay(t *testing.T) {
	ts := newTester(t)
	one, _ := ts.input("local", "one")
	two, _ := ts.input("local", "two")
	all := listen(ts, "?org=local", controltest.AdminKey)
	if got := all.res.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Errorf("Content-Type is %q", got)
	}
	all.want("signing-key.created", "")
	all.want("org.created", "")
	first := all.want("input.created", one.External)
	all.want("input.created", two.External)
	three, _ := ts.input("local", "three")
	all.want("input.created", three.External)

	after := listen(ts, fmt.Sprintf("?after=%d", first.Seq), controltest.AdminKey)
	after.want("input.created", two.External)
	after.want("input.created", three.External)

	// A browser that comes back sends both; the header is newer.
	back := listen(ts, "?after=1", controltest.AdminKey, "Last-Event-ID", fmt.Sprint(first.Seq))
	back.want("input.created", two.External)

	now := listen(ts, "?after=latest", controltest.AdminKey)
	four, _ := ts.input("local", "four")
	now.want("input.created", four.External)
}

func TestEventsAreThoseOfItsOrganisations(t *testing.T) {
	ts := newTester(t)
	key := ts.key([]string{"acme"}, "streams:read")
	ts.input("local", "secret")
	mine, _ := ts.input("acme", "mine")
	l := listen(ts, "?after=2", key)
	for _, kind := range []string{"signing-key.created", "org.created", "api-key.created"} {
		if e := l.want(kind, ""); e.Org != "acme" {
			t.Errorf("heard of %+v", e)
		}
	}
	l.want("input.created", mine.External)
	ts.input("local", "more")
	again, _ := ts.input("acme", "again")
	l.want("input.created", again.External)
	ts.refused(403, ts.call("GET", "/events?org=local", nil, "X-API-Key", key), "local")
}

// A key that is revoked, or expires, ends the streams that it opened.
func TestEventsEndWithTheKey(t *testing.T) {
	ts := newTester(t)
	k, key, err := ts.control.CreateAPIKey(t.Context(), control.NewAPIKey{Name: "x", Orgs: []string{"local"}, Scopes: []control.Scope{"*"}})
	if err != nil {
		t.Fatal(err)
	}
	l := listen(ts, "?after=latest", key)
	begun := time.Now()
	if _, err := ts.control.RevokeAPIKey(t.Context(), k.ID); err != nil {
		t.Fatal(err)
	}
	ts.input("local", "unheard")
	if e, ok := l.next(); ok {
		t.Errorf("got %+v after the key was revoked", e)
	}
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestEventsEndWithTheServer(t *testing.T) {
	ts := newTester(t)
	l := listen(ts, "?after=latest", controltest.AdminKey)
	ts.Close()
	if e, ok := l.next(); ok {
		t.Errorf("got %+v after the end", e)
	}
}

// What is not kept any more is told of by a reset, from which on nothing is missed.
func TestEventsReset(t *testing.T) {
	st := memstore.New(nil)
	defer st.Close()
	ts := newTester(t, func(c *Config) {
		c.Control = controltest.Open(t, control.Config{Store: st})
	})
	ts.control = ts.cfg.Control
	for i := range 10 {
		ts.input("local", fmt.Sprint("cam", i))
	}
	if _, err := st.Trim(t.Context(), "events", 3, 0); err != nil {
		t.Fatal(err)
	}
	l := listen(ts, "?after=2", controltest.AdminKey)
	reset := l.want("reset", "")
	e, ok := l.next()
	if !ok || e.Type != "input.created" || reset.Seq != e.Seq-1 {
		t.Errorf("after a reset of %d comes %+v", reset.Seq, e)
	}
	// It is the place to come back to.
	back := listen(ts, "", controltest.AdminKey, "Last-Event-ID", fmt.Sprint(reset.Seq))
	if again, _ := back.next(); again.Seq != e.Seq {
		t.Errorf("who comes back with it gets %+v, want %+v", again, e)
	}
	// A number from the future is of another log.
	ahead := listen(ts, "?after=1000000", controltest.AdminKey)
	ahead.want("reset", "")
	next, _ := ts.input("local", "next")
	ahead.want("input.created", next.External)
}

func TestEventStreamsAreBounded(t *testing.T) {
	ts := newTester(t, func(c *Config) { c.Limits = Limits{Streams: 3, KeyStreams: 2} })
	key := ts.key([]string{"local"}, "streams:read")
	listen(ts, "?after=latest", key)
	listen(ts, "?after=latest", key)
	a := ts.call("GET", "/events", nil, "X-API-Key", key)
	ts.refused(429, a, "too many")
	if a.Header.Get("Retry-After") == "" {
		t.Error("it does not say when to come back")
	}
	listen(ts, "?after=latest", controltest.AdminKey)
	if res := listen(ts, "?after=latest", controltest.AdminKey).res; res.StatusCode != 429 {
		t.Errorf("the fourth of three is %s", res.Status)
	}
}

func TestStreamsCountOut(t *testing.T) {
	s := streams{most: 2, mostOfKey: 1}
	end, ok := s.begin("a")
	if _, second := s.begin("a"); !ok || second {
		t.Errorf("the first of one is %t, the second %t", ok, second)
	}
	end()
	if _, ok := s.begin("a"); !ok || s.open != 1 {
		t.Errorf("after its end: %t, %d open", ok, s.open)
	}
	if _, ok := s.begin("b"); !ok {
		t.Error("another key's is refused")
	}
	if _, ok := s.begin("c"); ok {
		t.Error("the third of two is not refused")
	}
}

// A pipe is a ResponseWriter whose reader takes what it likes.
type pipe struct {
	*io.PipeWriter
	header http.Header
}

func (p pipe) Header() http.Header            { return p.header }
func (pipe) WriteHeader(int)                  {}
func (pipe) FlushError() error                { return nil }
func (pipe) SetWriteDeadline(time.Time) error { return nil }

// Time goes by as it should: comments while nothing happens, the end of a key
// when it expires.
func TestEventsHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ts := newTester(t, func(c *Config) { c.Now = time.Now })
		_, key, err := ts.control.CreateAPIKey(t.Context(), control.NewAPIKey{
			Name: "x", Orgs: []string{"local"}, Scopes: []control.Scope{"*"}, Expires: time.Now().Add(40 * time.Second),
		})
		if err != nil {
			t.Fatal(err)
		}
		r, w := io.Pipe()
		done := make(chan struct{})
		begun := time.Now()
		go func() {
			defer close(done)
			req := httptest.NewRequest("GET", Base+"/events?after=latest", nil)
			req.Header.Set("X-API-Key", key)
			ts.ServeHTTP(pipe{w, http.Header{}}, req)
			w.Close()
		}()
		l := &listener{t: t, lines: bufio.NewScanner(r)}
		for i := 1; i <= 2; i++ {
			if e, ok := l.next(); !ok || e.Type != ":" || time.Since(begun) != time.Duration(i)*heartbeat {
				t.Errorf("got %+v after %v, want a comment after %v", e, time.Since(begun), time.Duration(i)*heartbeat)
			}
		}
		if e, ok := l.next(); ok || time.Since(begun) != 40*time.Second {
			t.Errorf("got %+v after %v, want the end after 40s", e, time.Since(begun))
		}
		<-done
	})
}
