package client

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func stream(text string) answer {
	return answer{200, map[string]string{"Content-Type": "text/event-stream"}, text}
}

// follow collects what Follow yields until an error, or n events.
func follow(t *testing.T, c *Client, o EventOptions, n int) (got []string, last error) {
	t.Helper()
	for e, err := range c.Events.Follow(t.Context(), o) {
		if err != nil {
			return got, err
		}
		if got = append(got, fmt.Sprintf("%d %s", e.Seq, e.Type)); len(got) == n {
			break
		}
	}
	return got, nil
}

func TestEventsResume(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := scripted(t,
			stream("retry: 3000\nid: 5\nevent: input.created\ndata: {\"seq\":5,\ndata: \"type\":\"input.created\"}\n\n: alive\n\nid: 6\r\nevent: input.live\r\ndata: {}\r\n\r\nid: 7\ndata: {\"seq\":7"), // cut
			answer{}, // the network fails
			answer{status: 503},
			stream("id: 7\nevent: input.idle\ndata: {\"seq\":7}\n\n"),
		)
		got, err := follow(t, c, EventOptions{After: 4, Org: "acme"}, 3)
		if fmt.Sprint(got) != "[5 input.created 6 input.live 7 input.idle]" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		if s.got[0].URL.RawQuery != "after=4&org=acme" || s.got[0].Header.Get("Last-Event-ID") != "" {
			t.Errorf("first: %s", s.got[0].URL)
		}
		for i, r := range s.got[1:] {
			if r.URL.RawQuery != "org=acme" || r.Header.Get("Last-Event-ID") != "6" {
				t.Errorf("request %d: %s after %q", i+2, r.URL, r.Header.Get("Last-Event-ID"))
			}
			if pause := s.at[i+1] - s.at[i]; pause < 3*time.Second {
				t.Errorf("request %d came %v after the one before, want the server's 3 s", i+2, pause)
			}
		}
	})
}

// A proxy may end streams on which nothing happens, any number of times.
func TestEventsQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var answers []answer
		for range 20 {
			answers = append(answers, stream(": alive\n\n"))
		}
		c, s := scripted(t, append(answers, stream("id: 1\ndata: {\"seq\":1,\"type\":\"x\"}\n\n"))...)
		if got, err := follow(t, c, EventOptions{}, 1); len(got) != 1 || err != nil || len(s.got) != 21 || time.Since(s.began) < 20*time.Second {
			t.Errorf("%q, %v after %d requests and %v", got, err, len(s.got), time.Since(s.began))
		}
	})
}

func TestEventsEnd(t *testing.T) {
	for _, tt := range []struct {
		name    string
		answers []answer
		want    error
		tries   int
	}{
		{"refused", []answer{{status: 401}}, ErrUnauthorized, 1},
		{"unreachable", []answer{{}, {}, {}, {}, {}, {}}, ErrUnreachable, 5},
		{"no stream", []answer{ok("{}")}, ErrResponse, 1},
		{"no JSON", []answer{stream("data: x\n\n")}, ErrResponse, 1},
		{"an endless line", []answer{stream("data: " + strings.Repeat("x", maxEvent))}, ErrResponse, 1},
		{"an endless event", []answer{stream(strings.Repeat("data: "+strings.Repeat("x", 1<<16)+"\n", 17))}, ErrResponse, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, s := scripted(t, tt.answers...)
				if _, err := follow(t, c, EventOptions{}, 1); !errors.Is(err, tt.want) || len(s.got) != tt.tries {
					t.Errorf("%v after %d requests, want %v after %d", err, len(s.got), tt.want, tt.tries)
				}
			})
		})
	}
}

// A deaf server accepts and then says nothing.
type deaf struct{ requests int }

func (d *deaf) RoundTrip(r *http.Request) (*http.Response, error) {
	d.requests++
	pr, pw := io.Pipe()
	go func() {
		<-r.Context().Done()
		pw.CloseWithError(r.Context().Err())
	}()
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Body: pr, Request: r}, nil
}

func TestEventsIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &deaf{}
		c, err := New(Config{URL: "http://h", HTTPClient: &http.Client{Transport: d}, Retries: 2})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		_, err = follow(t, c, EventOptions{Idle: 10 * time.Second}, 1)
		if took := time.Since(began); !errors.Is(err, ErrUnreachable) || !errors.Is(err, errQuiet) || d.requests != 3 || took < 30*time.Second || took > 40*time.Second {
			t.Errorf("%v after %d requests and %v", err, d.requests, took)
		}
		synctest.Wait()
	})
}

// Whatever a server sends, the parser ends and keeps within its bounds.
func FuzzEvents(f *testing.F) {
	f.Add([]byte("id: 5\nevent: a.b\ndata: {\"seq\":5}\n\n"))
	f.Add([]byte("retry: 1\r\n: c\r\ndata:{\"type\":\"x\"}\r\ndata\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		blanks, events := strings.Count(string(b), "\n"), 0
		fo := follower{yield: func(Event, error) bool { events++; return true }}
		if err := fo.read(bufio.NewReader(strings.NewReader(string(b)))); err == nil {
			t.Error("a stream ended without an error")
		}
		if events > blanks {
			t.Errorf("%d events of %d lines", events, blanks)
		}
	})
}
