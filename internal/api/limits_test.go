package api

import (
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/internal/control/controltest"
)

func TestRates(t *testing.T) {
	const elsewhere = "198.51.100.7:1"
	admin := []string{"Authorization", "Bearer " + controltest.AdminKey}
	for _, tt := range []struct {
		name   string
		limits Limits
		target string
		header []string
		free   []string // to whom it does not extend
		burst  int
		want   int // of those within the burst
	}{
		{"of a key", Limits{Key: 0.5, KeyBurst: 3}, "/live-inputs", admin, nil, 3, 200},
		{"of an address", Limits{Address: 0.5, AddressBurst: 3}, "/version", []string{"", ""}, []string{"", "", "Remote", elsewhere}, 3, 200},
		{"of a path that is none", Limits{Address: 0.5, AddressBurst: 3}, "/nothing", []string{"", ""}, []string{"", "", "Remote", elsewhere}, 3, 404},
		{"of wrong keys", Limits{Failed: 0.5, FailedBurst: 3}, "/live-inputs", []string{"X-API-Key", "x"}, []string{"X-API-Key", "x", "Remote", elsewhere}, 3, 401},
		{"of no keys", Limits{Failed: 0.5, FailedBurst: 3}, "/live-inputs", []string{"", ""}, []string{"", "", "Remote", elsewhere}, 3, 401},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ts := newTester(t, func(c *Config) { c.Limits = tt.limits })
			for i := range tt.burst {
				if a := ts.call("GET", tt.target, nil, tt.header...); a.StatusCode != tt.want {
					t.Fatalf("request %d = %s, want %d", i, a.Status, tt.want)
				}
			}
			a := ts.call("GET", tt.target, nil, tt.header...)
			ts.refused(429, a, "too many")
			if got := a.Header.Get("Retry-After"); got != "2" {
				t.Errorf("Retry-After is %q, want 2", got)
			}
			if tt.free != nil {
				if a := ts.call("GET", tt.target, nil, tt.free...); a.StatusCode != tt.want {
					t.Errorf("another address = %s, want %d", a.Status, tt.want)
				}
			}
			ts.now = ts.now.Add(2 * time.Second)
			if a := ts.call("GET", tt.target, nil, tt.header...); a.StatusCode != tt.want {
				t.Errorf("after Retry-After: %s, want %d", a.Status, tt.want)
			}
		})
	}
}

func TestIdempotencyKey(t *testing.T) {
	ts := newTester(t)
	first := ts.call("POST", "/live-inputs", `{"name":"a"}`, "Idempotency-Key", "k1")
	again := ts.call("POST", "/live-inputs", `{"name":"a"}`, "Idempotency-Key", "k1")
	if first.StatusCode != 201 || again.StatusCode != 201 || first.text != again.text || first.Header.Get("ETag") != again.Header.Get("ETag") {
		t.Errorf("got %s %s, and again %s %s", first.Status, first.text, again.Status, again.text)
	}
	if again.Header.Get("Idempotency-Replayed") != "true" || first.Header.Get("Idempotency-Replayed") != "" {
		t.Errorf("Idempotency-Replayed is %q and %q", first.Header.Get("Idempotency-Replayed"), again.Header.Get("Idempotency-Replayed"))
	}
	ts.refused(422, ts.call("POST", "/live-inputs", `{"name":"b"}`, "Idempotency-Key", "k1"), "header.Idempotency-Key")
	ts.refused(422, ts.call("POST", "/live-inputs", `{"name":"b"}`, "Idempotency-Key", strings.Repeat("k", 256)), "header.Idempotency-Key")

	// A refusal is not kept: the corrected request may have the same key.
	ts.refused(422, ts.call("POST", "/live-inputs", `{"nam":"c"}`, "Idempotency-Key", "k2"), "body.nam")
	ts.want(201, ts.call("POST", "/live-inputs", `{"name":"c"}`, "Idempotency-Key", "k2"), nil)

	// Another key's, and another path's, is another.
	other := ts.key([]string{"local"}, "*")
	b := ts.call("POST", "/live-inputs", `{"name":"a"}`, "Idempotency-Key", "k1", "X-API-Key", other)
	ts.want(201, b, nil)
	if b.text == first.text {
		t.Error("another API key got the answer, with the stream key in it")
	}
	ts.want(201, ts.call("POST", "/sessions", `{}`, "Idempotency-Key", "k1"), nil)
	var l struct{ Items []LiveInput }
	ts.want(200, ts.call("GET", "/live-inputs", nil), &l)
	if len(l.Items) != 3 {
		t.Errorf("there are %d inputs, want 3", len(l.Items))
	}

	ts.now = ts.now.Add(24 * time.Hour)
	late := ts.call("POST", "/live-inputs", `{"name":"a"}`, "Idempotency-Key", "k1")
	if ts.want(201, late, nil); late.text == first.text {
		t.Error("the answer is still kept after a day")
	}
}

// A body that does not come in time is given up, and so is one that is too long.
func TestSlowBody(t *testing.T) {
	if testing.Short() {
		t.Skip("takes as long as a body may")
	}
	t.Parallel()
	ts := newTester(t)
	srv := httptest.NewServer(ts)
	defer srv.Close()
	var wg sync.WaitGroup
	for path, want := range map[string]string{
		"/live-inputs": "400", "/live-inputs/li_x/rotate-key": "404", "/nothing": "404", "/orgs HTTP/1.1\r\nX-API-Key: wrong\r\nX:": "401",
	} {
		wg.Go(func() {
			conn, err := net.Dial("tcp", strings.TrimPrefix(srv.URL, "http://"))
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			if !strings.Contains(path, "X-API-Key") {
				path += " HTTP/1.1\r\nX-API-Key: " + controltest.AdminKey
			}
			fmt.Fprintf(conn, "POST %s%s\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", Base, path)
			begun := time.Now()
			text, _ := io.ReadAll(io.LimitReader(conn, 12))
			if took := time.Since(begun); string(text) != "HTTP/1.1 "+want || took > 3*bodyTime {
				t.Errorf("%.40s: after %v: %q, want %s within %v", path, took, text, want, bodyTime)
			}
		})
	}
	wg.Wait()
}

// The deadlines of one answer are not those of the connection.
func TestDeadlinesAreTakenBack(t *testing.T) {
	ts := newTester(t)
	d := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	r := httptest.NewRequest("POST", Base+"/live-inputs", strings.NewReader(`{"name":"x"}`))
	r.Header.Set("X-API-Key", controltest.AdminKey)
	ts.ServeHTTP(d, r)
	if len(d.set) != 4 || d.set[0].IsZero() || !d.set[1].IsZero() || d.set[2].IsZero() || !d.set[3].IsZero() {
		t.Errorf("deadlines were set to %v, want one and none, for reading and for writing", d.set)
	}
}

type deadlines struct {
	*httptest.ResponseRecorder
	set []time.Time
}

func (d *deadlines) SetReadDeadline(at time.Time) error {
	d.set = append(d.set, at)
	return nil
}

func (d *deadlines) SetWriteDeadline(at time.Time) error {
	d.set = append(d.set, at)
	return nil
}
