package request_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/internal/compat/request"
	"github.com/broadcastd/broadcastd/internal/control"
)

// keys knows one key.
type keys struct{}

func (keys) Authenticate(_ context.Context, key string) (control.Principal, error) {
	if key != "right" {
		return control.Principal{}, errors.New("the API key is not known")
	}
	return control.Principal{KeyID: "ak_1"}, nil
}

// limits lets through what is left.
type limits struct{ requests, wrong, calls int }

func (l *limits) AllowAddress(string) (time.Duration, bool) {
	l.requests--
	return 1500 * time.Millisecond, l.requests >= 0 && l.wrong > 0
}
func (l *limits) WrongKey(string) { l.wrong-- }
func (l *limits) AllowKey(_ control.Principal, n int) (time.Duration, bool) {
	l.calls -= n
	return time.Minute, l.calls >= 0
}

// TestLimits: requests of an address, wrong keys, and calls of a key each have
// their bound, which a client is told with Retry-After.
func TestLimits(t *testing.T) {
	for _, tt := range []struct {
		name   string
		limits limits
		key    string
		calls  int
		times  int // that it is let through, or told 401
		last   int
		retry  string
	}{
		{"requests", limits{3, 10, 100}, "right", 1, 3, 429, "2"},
		{"wrong keys", limits{100, 2, 100}, "wrong", 1, 2, 429, "2"},
		{"calls", limits{100, 10, 100}, "right", 40, 2, 429, "60"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			admit := func() *request.Refusal {
				r := httptest.NewRequest("GET", "/", nil)
				r.Header.Set("X-API-Key", tt.key)
				if no := request.Enter(r, &tt.limits); no != nil {
					return no
				}
				_, no := request.Authenticate(r, keys{}, &tt.limits, tt.calls)
				return no
			}
			for i := range tt.times {
				if no := admit(); no != nil && no.Status != 401 {
					t.Fatalf("request %d: %d %v", i+1, no.Status, no)
				}
			}
			no := admit()
			if no == nil || no.Status != tt.last {
				t.Fatalf("the last request: %v, want %d", no, tt.last)
			}
			h := http.Header{}
			if no.Headers(h); h.Get("Retry-After") != tt.retry {
				t.Errorf("Retry-After %q, want %q", h.Get("Retry-After"), tt.retry)
			}
		})
	}
}

// TestBody: a body is read up to its bound.
func TestBody(t *testing.T) {
	broken := io.MultiReader(strings.NewReader("ab"), errReader{})
	for _, tt := range []struct {
		name   string
		body   io.Reader
		want   string
		status int
	}{
		{"fits", strings.NewReader("abcd"), "abcd", 0},
		{"too long", strings.NewReader("abcde"), "", 413},
		{"breaks off", broken, "", 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, no := request.Body(httptest.NewRecorder(), httptest.NewRequest("POST", "/", tt.body), 4)
			if string(got) != tt.want || (no == nil) != (tt.status == 0) || no != nil && no.Status != tt.status {
				t.Errorf("Body = %q, %v, want %q, %d", got, no, tt.want, tt.status)
			}
		})
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
