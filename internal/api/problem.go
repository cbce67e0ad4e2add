package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/broadcastd/broadcastd/internal/control"
)

// A Problem is the body of every answer that refuses (RFC 9457).
type Problem struct {
	// Type names the kind of problem: the place in the documentation that
	// explains it.
	Type   string `json:"type" format:"uri-reference" example:"/docs#invalid" doc:"Kind of the problem, for programs. It is where the documentation explains it."`
	Title  string `json:"title" example:"Unprocessable Entity" doc:"What the status means"`
	Status int    `json:"status" example:"422" doc:"HTTP status"`
	Detail string `json:"detail" example:"body.name: expected length >= 1" doc:"A sentence for people. Programs do not match on it."`
	// Field is the first of Errors.
	Field  string       `json:"field,omitempty" example:"body.name" doc:"What was wrong, if it was one thing: its place in the request"`
	Errors []FieldError `json:"errors,omitempty" nullable:"false" doc:"Everything that was wrong"`
}

// A FieldError says what is wrong with one part of a request.
type FieldError struct {
	Location string `json:"location" example:"body.name" doc:"body, query, header or path, and the name there"`
	Message  string `json:"message" example:"expected length >= 1"`
}

// The kinds of problems, and the status of each.
var kinds = map[int]string{
	http.StatusBadRequest:            "malformed",
	http.StatusUnauthorized:          "unauthorized",
	http.StatusForbidden:             "forbidden",
	http.StatusNotFound:              "not-found",
	http.StatusMethodNotAllowed:      "method-not-allowed",
	http.StatusConflict:              "conflict",
	http.StatusPreconditionFailed:    "precondition-failed",
	http.StatusRequestEntityTooLarge: "too-large",
	http.StatusUnsupportedMediaType:  "media-type",
	http.StatusUnprocessableEntity:   "invalid",
	http.StatusTooManyRequests:       "too-many-requests",
	http.StatusInternalServerError:   "internal",
	http.StatusNotImplemented:        "not-implemented",
	http.StatusServiceUnavailable:    "unavailable",
}

// maxProblem bounds how many errors one answer lists.
const maxProblem = 32

// newProblem makes a problem. Without a sentence it is that of its errors.
func newProblem(status int, detail string, errs ...FieldError) *Problem {
	p := &Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail}
	if kind, ok := kinds[status]; ok {
		p.Type = "/docs#" + kind
	}
	if len(errs) > maxProblem {
		errs = errs[:maxProblem]
	}
	p.Errors = errs
	if len(errs) == 0 {
		return p
	}
	p.Field = errs[0].Location
	if detail == "" {
		texts := make([]string, len(errs))
		for i, e := range errs {
			texts[i] = e.Location + ": " + e.Message
		}
		p.Detail = strings.Join(texts, "; ")
	}
	return p
}

// Error implements error.
func (p *Problem) Error() string { return p.Detail }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType implements huma.ContentTypeFilter.
func (*Problem) ContentType(string) string { return "application/problem+json" }

// ours makes a Problem of huma's own errors, which are about requests that do
// not have the form of the OpenAPI description. It leaves out the values that
// they quote: one of them may be a secret that stands in the wrong place.
func ours(_ huma.Context, _ string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	var errs []FieldError
	for _, e := range m.Errors {
		if e == nil {
			continue
		}
		where := e.Location
		if len(where) > maxField {
			where = where[:maxField] + "…"
		}
		errs = append(errs, FieldError{Location: where, Message: clip(e.Message)})
	}
	detail := ""
	if len(errs) == 0 {
		detail = m.Detail
	}
	if m.Status >= http.StatusInternalServerError {
		return newProblem(m.Status, "the server failed; its log says why"), nil
	}
	return newProblem(m.Status, detail, errs...), nil
}

// clip bounds a sentence that may quote the client.
func clip(s string) string {
	if len(s) > maxField {
		return strings.ToValidUTF8(s[:maxField], "") + "…"
	}
	return s
}

// statuses maps what control refuses with.
var statuses = map[control.Code]int{
	control.Unauthenticated: http.StatusUnauthorized,
	control.NotFound:        http.StatusNotFound,
	control.Conflict:        http.StatusConflict,
	control.Invalid:         http.StatusUnprocessableEntity,
	control.Forbidden:       http.StatusForbidden,
	control.Exhausted:       http.StatusConflict,
	control.Precondition:    http.StatusPreconditionFailed,
}

// fieldNames are the fields that have another name here than in control.
var fieldNames = map[string]string{
	"settings.groupDuration": "settings.groupDurationMs", "settings.startoverWindow": "settings.startoverWindowSeconds",
	"expires": "expiresAt", "ttl": "ttlSeconds",
}

// problemOf says how err is answered. What nobody foresaw is 500, and its text
// goes into the log alone.
func (h *Handler) problemOf(ctx context.Context, err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if e, ok := errors.AsType[*control.Error](err); ok && statuses[e.Code] != 0 {
		status := statuses[e.Code]
		if e.Field == "" {
			return newProblem(status, e.Reason)
		}
		where := "body."
		if r := from(ctx).request; r != nil && r.Method == http.MethodGet {
			where = "query."
		}
		return newProblem(status, "", FieldError{Location: where + cmp.Or(fieldNames[e.Field], e.Field), Message: e.Reason})
	}
	if ctx.Err() != nil {
		return newProblem(http.StatusServiceUnavailable, "the request was given up")
	}
	h.cfg.Log.ErrorContext(ctx, "API request failed", "err", err)
	return newProblem(http.StatusInternalServerError, "the server failed; its log says why")
}

func notFound(what, id string) *Problem {
	return newProblem(http.StatusNotFound, fmt.Sprintf("there is no %s %.80q, or it is another organisation's", what, id))
}
