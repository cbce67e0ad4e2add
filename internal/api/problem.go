package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/broadcastd/broadcastd/internal/api/edge"
	"github.com/broadcastd/broadcastd/internal/control"
)

// What refuses. The words are edge's, and everywhere in this package.
type (
	// A Problem is the body of every answer that refuses.
	Problem = edge.Problem
	// A FieldError says what is wrong with one part of a request.
	FieldError = edge.FieldError
)

func newProblem(status int, detail string, errs ...FieldError) *Problem {
	return edge.NewProblem(status, detail, errs...)
}

// wrong refuses a request for one part of it, such as body.name.
func wrong(location, message string) *Problem {
	return newProblem(http.StatusUnprocessableEntity, "", FieldError{Location: location, Message: message})
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
