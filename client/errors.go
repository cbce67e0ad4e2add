package client

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// What a call can fail with, for errors.Is. Those with a status are *Error too,
// which has the server's words.
var (
	// ErrUnreachable reports that no answer came, also after repetitions.
	ErrUnreachable = errors.New("client: the server cannot be reached")
	// ErrUntrusted reports a certificate that is not accepted. It is wrapped
	// together with ErrUnreachable.
	ErrUntrusted = errors.New("client: certificate not accepted")
	// ErrResponse reports an answer that is none of this API.
	ErrResponse = errors.New("client: unexpected answer")

	ErrInvalid      = errors.New("client: invalid request")          // 400, 413, 415, 422
	ErrUnauthorized = errors.New("client: API key missing or wrong") // 401
	ErrForbidden    = errors.New("client: not allowed")              // 403
	ErrNotFound     = errors.New("client: not found")                // 404, 410
	ErrConflict     = errors.New("client: conflict")                 // 409
	ErrChanged      = errors.New("client: changed meanwhile")        // 412, 428
	ErrRateLimited  = errors.New("client: too many requests")        // 429
	ErrServer       = errors.New("client: the server failed")        // 5xx
)

// An Error is an answer that refuses a call: a problem document (RFC 9457).
type Error struct {
	Status int    // of HTTP
	Type   string // URI of the kind of problem; empty: none but the status
	Title  string // what Status means
	Detail string // a sentence for people; never match on it
	Field  string // that was wrong, such as "body.name"; empty: none in particular
	// RetryAfter is how long the server wants to be left alone. 0: not said.
	RetryAfter time.Duration
	// Call is the method and path that were refused.
	Call string
}

// Error implements error.
func (e *Error) Error() string {
	text := cmp.Or(e.Detail, e.Title, http.StatusText(e.Status))
	if e.Field != "" && !strings.Contains(text, e.Field) {
		text += " (" + e.Field + ")"
	}
	return fmt.Sprintf("%s: %d: %s", e.Call, e.Status, text)
}

// Is reports whether target is the sentinel of e's status.
func (e *Error) Is(target error) bool { return target == e.kind() }

func (e *Error) kind() error {
	switch e.Status {
	case http.StatusUnauthorized:
		return ErrUnauthorized
	case http.StatusForbidden:
		return ErrForbidden
	case http.StatusNotFound, http.StatusGone:
		return ErrNotFound
	case http.StatusConflict:
		return ErrConflict
	case http.StatusPreconditionFailed, http.StatusPreconditionRequired:
		return ErrChanged
	case http.StatusTooManyRequests:
		return ErrRateLimited
	}
	if e.Status >= http.StatusInternalServerError {
		return ErrServer
	}
	return ErrInvalid
}

// problem is the body of an answer that refuses.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Field  string `json:"field"`
	Errors []struct {
		Message  string `json:"message"`
		Location string `json:"location"`
	} `json:"errors"`
}

// newError makes an Error of an answer. What is no problem document is not
// shown, because it may be anything.
func newError(call string, status int, header http.Header, body []byte, now time.Time) *Error {
	e := &Error{Status: status, Call: call, Title: http.StatusText(status), RetryAfter: retryAfter(header, now)}
	var p problem
	if !strings.Contains(header.Get("Content-Type"), "json") || json.Unmarshal(body, &p) != nil {
		return e
	}
	if p.Type != "about:blank" {
		e.Type = p.Type
	}
	e.Title, e.Detail, e.Field = cmp.Or(p.Title, e.Title), p.Detail, p.Field
	for i, f := range p.Errors {
		if i == 0 {
			e.Field = cmp.Or(e.Field, f.Location)
		}
		if !strings.Contains(e.Detail, f.Message) {
			e.Detail = strings.TrimPrefix(e.Detail+"; "+strings.TrimPrefix(f.Location+": ", ": ")+f.Message, "; ")
		}
	}
	return e
}

// retryAfter returns what Retry-After says: seconds, or a date (RFC 9110 section
// 10.2.3). 0: nothing, or the past.
func retryAfter(h http.Header, now time.Time) time.Duration {
	text := h.Get("Retry-After")
	if s, err := strconv.ParseUint(text, 10, 31); err == nil {
		return time.Duration(s) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), 0)
	}
	return 0
}
