package edge

import (
	"encoding/json"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
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

	// RetryAfter is how long to stay away, in the header Retry-After. 0: not said.
	RetryAfter time.Duration `json:"-"`
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

// NewProblem makes a problem. Without a sentence it is that of its errors.
func NewProblem(status int, detail string, errs ...FieldError) *Problem {
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

// Ours makes a Problem of huma's own errors, which are about requests that do
// not have the form of the OpenAPI description. It leaves out the values that
// they quote: one of them may be a secret that stands in the wrong place.
func Ours(_ huma.Context, _ string, v any) (any, error) {
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
		if len(where) > MaxField {
			where = where[:MaxField] + "…"
		}
		errs = append(errs, FieldError{Location: where, Message: clip(e.Message)})
	}
	detail := ""
	if len(errs) == 0 {
		detail = m.Detail
	}
	if m.Status >= http.StatusInternalServerError {
		return NewProblem(m.Status, "the server failed; its log says why"), nil
	}
	return NewProblem(m.Status, detail, errs...), nil
}

// clip bounds a sentence that may quote the client.
func clip(s string) string {
	if len(s) > MaxField {
		return strings.ToValidUTF8(s[:MaxField], "") + "…"
	}
	return s
}

// GetHeaders implements huma.HeadersError.
func (p *Problem) GetHeaders() http.Header {
	if p.RetryAfter <= 0 {
		return nil
	}
	return http.Header{"Retry-After": {RetryAfter(p.RetryAfter)}}
}

// Write writes the problem as an answer.
func (p *Problem) Write(w http.ResponseWriter) {
	maps.Copy(w.Header(), p.GetHeaders())
	w.Header().Set("Content-Type", p.ContentType(""))
	w.WriteHeader(p.Status)
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	_ = e.Encode(p) // strings and numbers always can be
}
