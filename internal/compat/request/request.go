// Package request admits the HTTP requests of the contracts: whose API key they
// show, in either of two headers and never in a URL, how many there may be, and
// how long a body may be and take.
package request

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/broadcastd/broadcastd/internal/control"
)

// A Refusal says why a request is not admitted. Its text holds nothing of the
// key.
type Refusal struct {
	Status int // of HTTP: 401, 413, 429, or 400 for a body that broke off
	Reason string
	Retry  time.Duration // after which to come back, with status 429
}

func (r *Refusal) Error() string { return r.Reason }

// Headers sets what goes with a refusal.
func (r *Refusal) Headers(h http.Header) {
	switch r.Status {
	case http.StatusUnauthorized:
		h.Set("WWW-Authenticate", "Bearer")
	case http.StatusTooManyRequests:
		h.Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(r.Retry.Seconds())))))
	}
}

// Limits bound what clients may ask for. *api.Handler implements it, so that a
// client has one allowance for all surfaces.
type Limits interface {
	// AllowAddress takes one request of an address, host:port, or says how long
	// it is until there may be one: also where it has shown too many wrong keys.
	AllowAddress(remote string) (wait time.Duration, ok bool)
	// WrongKey counts a key that an address showed and that does not count.
	WrongKey(remote string)
	// AllowKey takes n calls of a key.
	AllowKey(who control.Principal, n int) (wait time.Duration, ok bool)
}

// Keys knows API keys. *control.Service implements it.
type Keys interface {
	Authenticate(ctx context.Context, cleartext string) (control.Principal, error)
}

// Enter takes a request of its address, before anything of it is looked at.
// Without limits there are none.
func Enter(r *http.Request, limits Limits) *Refusal {
	if limits == nil {
		return nil
	}
	if wait, ok := limits.AllowAddress(r.RemoteAddr); !ok {
		return &Refusal{http.StatusTooManyRequests, "too many requests or wrong keys came from this address; Retry-After says when to come back", wait}
	}
	return nil
}

// Authenticate tells who makes the calls of a request.
func Authenticate(r *http.Request, keys Keys, limits Limits, calls int) (control.Principal, *Refusal) {
	key, err := Key(r)
	if err != nil {
		return control.Principal{}, &Refusal{Status: http.StatusUnauthorized, Reason: err.Error()}
	}
	who, err := keys.Authenticate(r.Context(), key)
	if err != nil {
		if limits != nil {
			limits.WrongKey(r.RemoteAddr)
		}
		return control.Principal{}, &Refusal{Status: http.StatusUnauthorized, Reason: err.Error()}
	}
	if limits == nil {
		return who, nil
	}
	if wait, ok := limits.AllowKey(who, calls); !ok {
		return control.Principal{}, &Refusal{http.StatusTooManyRequests, "this API key sends too many requests; Retry-After says when to come back", wait}
	}
	return who, nil
}

// bodyTime is how long a client may take to send a body, which is short.
const bodyTime = 5 * time.Second

// Body reads a body of at most that many bytes.
func Body(w http.ResponseWriter, r *http.Request, most int64) ([]byte, *Refusal) {
	deadline := http.NewResponseController(w)
	_ = deadline.SetReadDeadline(time.Now().Add(bodyTime)) // not every ResponseWriter has one
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	_ = deadline.SetReadDeadline(time.Time{}) // the connection may be an encoder's next
	if _, long := errors.AsType[*http.MaxBytesError](err); long {
		return nil, &Refusal{Status: http.StatusRequestEntityTooLarge, Reason: fmt.Sprintf("the body has more than %d bytes", most)}
	}
	if err != nil {
		return nil, &Refusal{Status: http.StatusBadRequest, Reason: "the body broke off, or took longer than " + bodyTime.String()}
	}
	return body, nil
}
