package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/broadcastd/broadcastd/internal/api/edge"
	"github.com/broadcastd/broadcastd/internal/control"
)

const (
	// bodyTime is how long a client may take to send a body, which is short.
	bodyTime = 5 * time.Second
)

// An access says who may use a route. The zero value is none, and a route with
// it is an error of New's.
type access struct {
	kind  accessKind
	scope control.Scope // of kind scoped
	// stream routes write as they go; the answers of others are put together
	// first.
	stream bool
}

type accessKind int

const (
	undeclared accessKind = iota
	open                  // to everybody
	itself                // the handler decides: a token, a key or the loopback rule
	scoped                // an API key with the scope
	admin                 // the admin key
)

var public = access{kind: open}

// needs is for routes that take an API key with a scope.
func needs(scope control.Scope) access { return access{kind: scoped, scope: scope} }

// String is what the OpenAPI description says.
func (a access) String() string {
	switch a.kind {
	case open:
		return "public"
	case itself:
		return "token, key or loopback"
	case scoped:
		return string(a.scope)
	case admin:
		return "admin"
	case undeclared:
	}
	return "undeclared"
}

// A caller is whoever sent a request.
type caller struct {
	who     control.Principal // zero for routes that take no key
	request *http.Request
}

type callerKey struct{}

// from returns who sent the request of ctx.
func from(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// adapter connects huma with the mux: each route behind its guard.
type adapter struct {
	h      *Handler
	access map[string]access // by method and path
}

// Handle implements huma.Adapter.
func (a *adapter) Handle(op *huma.Operation, next func(huma.Context)) {
	route := op.Method + " " + op.Path
	acc, ok := a.access[route]
	if !ok || acc.kind == undeclared {
		a.h.faults = append(a.h.faults, fmt.Errorf("api: the route %s does not say who may use it", route))
		return
	}
	a.h.mux.Handle(route, a.h.guard(op, acc, func(w http.ResponseWriter, r *http.Request) {
		next(humago.NewContext(op, r, w))
	}))
}

// ServeHTTP implements huma.Adapter.
func (a *adapter) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.h.ServeHTTP(w, r) }

// guard lets to next what has the form and the right that its operation asks for.
func (h *Handler) guard(op *huma.Operation, acc access, next http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		h.cors(w.Header(), r, acc)
		c := caller{request: r}
		if p := h.admit(w.Header(), r, acc, &c); p != nil {
			h.refuse(w, p)
			return
		}
		r = r.WithContext(context.WithValue(r.Context(), callerKey{}, c))
		if acc.stream {
			h.recovering(w, r, next)
			return
		}
		body, p := h.readBody(w, r, op)
		if p != nil {
			h.refuse(w, p)
			return
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		h.answer(w, r, c, body, next)
	})
}

// admit says who sent r, or why it is refused.
func (h *Handler) admit(header http.Header, r *http.Request, acc access, c *caller) *Problem {
	address := edge.Address(r.RemoteAddr)
	if wait, ok := h.addresses.Take(address, 1); !ok {
		return limited(wait, "this address sends too many requests")
	}
	if acc.kind == open || acc.kind == itself && !showsAPIKey(r) {
		return nil
	}
	if wait, ok := h.failed.Take(address, 0); !ok {
		return limited(wait, "too many wrong keys came from this address")
	}
	who, p := h.authenticate(r)
	if p != nil {
		h.failed.Take(address, 1)
		header.Set("WWW-Authenticate", `Bearer realm="broadcastd"`)
		return p
	}
	if wait, ok := h.keys.Take(clientOf(who), 1); !ok {
		return limited(wait, "this API key sends too many requests")
	}
	c.who = who
	switch {
	case acc.kind == admin && !who.Admin:
		return newProblem(http.StatusForbidden, "only the admin key may do this")
	case acc.kind == scoped:
		if err := who.May(acc.scope, ""); err != nil {
			return newProblem(http.StatusForbidden, err.Error())
		}
	}
	return nil
}

func limited(wait time.Duration, reason string) *Problem {
	p := newProblem(http.StatusTooManyRequests, reason+"; Retry-After says when to come back")
	p.RetryAfter = wait
	return p
}

// credential returns the API key of a request, of either header.
func credential(r *http.Request) (string, *Problem) {
	key := r.Header.Get("X-API-Key")
	header := r.Header.Get("Authorization")
	if header == "" {
		return key, nil
	}
	scheme, bearer, ok := strings.Cut(header, " ")
	bearer = strings.TrimSpace(bearer)
	if !ok || !strings.EqualFold(scheme, "Bearer") || bearer == "" {
		return "", newProblem(http.StatusUnauthorized, "the Authorization header is not of the form 'Bearer <API key>'")
	}
	if key != "" && key != bearer {
		return "", newProblem(http.StatusUnauthorized, "Authorization and X-API-Key hold different keys; send one")
	}
	return bearer, nil
}

// showsAPIKey tells an API key from a playback token, which is a JWT and so has
// two dots.
func showsAPIKey(r *http.Request) bool {
	return r.Header.Get("X-API-Key") != "" ||
		r.Header.Get("Authorization") != "" && strings.Count(r.Header.Get("Authorization"), ".") != 2
}

// maxKey bounds an API key in bytes.
const maxKey = 512

func (h *Handler) authenticate(r *http.Request) (control.Principal, *Problem) {
	key, p := credential(r)
	if p != nil {
		return control.Principal{}, p
	}
	if key == "" {
		return control.Principal{}, newProblem(http.StatusUnauthorized,
			"this needs an API key: send 'Authorization: Bearer <key>' or 'X-API-Key: <key>'")
	}
	if len(key) <= maxKey {
		if who, err := h.cfg.Control.Authenticate(r.Context(), key); err == nil {
			return who, nil
		}
	}
	return control.Principal{}, newProblem(http.StatusUnauthorized, "the API key is unknown, revoked or expired")
}

// readBody reads a body and checks its form.
func (h *Handler) readBody(w http.ResponseWriter, r *http.Request, op *huma.Operation) ([]byte, *Problem) {
	if op.RequestBody == nil {
		return nil, nil // what comes is not looked at
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, h.cfg.Limits.Body))
	if err != nil {
		w.Header().Set("Connection", "close") // what follows is no request
	} else {
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, newProblem(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body may have %d bytes", tooLarge.Limit))
	} else if err != nil {
		return nil, newProblem(http.StatusBadRequest, "the body ended too early, or took longer than "+bodyTime.String())
	}
	if len(body) == 0 {
		return nil, nil // huma says whether it needs one
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if r.Header.Get("Content-Type") != "" && (err != nil || op.RequestBody.Content[media] == nil) {
		return nil, newProblem(http.StatusUnsupportedMediaType, "the body has to be application/json, and its Content-Type has to say so")
	}
	r.Header.Set("Content-Type", "application/json")
	return body, h.checkBody(body, op)
}

// checkBody checks a body for what huma lets pass.
func (h *Handler) checkBody(body []byte, op *huma.Operation) *Problem {
	status, fault := http.StatusBadRequest, edge.CheckJSON(body)
	if fault == nil {
		var value any
		if json.Unmarshal(body, &value) != nil { // all else is found above
			fault = &edge.Fault{Reason: "a number is too large"}
		} else {
			schema := op.RequestBody.Content["application/json"].Schema
			status, fault = http.StatusUnprocessableEntity, edge.CheckNames(h.openapi().Components.Schemas, schema, value, "")
		}
	}
	if fault == nil {
		return nil
	}
	return newProblem(status, "", FieldError{Location: strings.TrimSuffix("body."+fault.Field, "."), Message: fault.Reason})
}

// answer puts an answer together, or repeats it, and sends it.
func (h *Handler) answer(w http.ResponseWriter, r *http.Request, c caller, body []byte, next http.HandlerFunc) {
	key := r.Header.Get("Idempotency-Key")
	if r.Method != http.MethodPost || key == "" {
		h.record(r, next).Send(w)
		return
	}
	if len(key) > edge.MaxIdempotencyKey {
		h.refuse(w, wrong("header.Idempotency-Key", fmt.Sprintf("expected length <= %d", edge.MaxIdempotencyKey)))
		return
	}
	old, mine, p := h.replays.Begin(r.Context(), edge.ReplayID(clientOf(c.who), r.Method+" "+r.URL.RequestURI(), key), body)
	if p != nil {
		h.refuse(w, p)
		return
	}
	if old != nil {
		w.Header().Set("Idempotency-Replayed", "true")
		old.Send(w)
		return
	}
	var a *edge.Answer
	defer func() { h.replays.End(mine, a) }() // also when next panics
	made := h.record(r, next)
	if made.Status() < 300 {
		a = made
	}
	made.Send(w)
}

// record runs next, and makes a 500 of a panic.
func (h *Handler) record(r *http.Request, next http.HandlerFunc) *edge.Answer {
	a := edge.NewAnswer()
	h.recovering(a, r, next)
	return a
}

// recovering runs next. What is left of a panic is a line in the log and, if
// nothing was written before, a 500.
func (h *Handler) recovering(w http.ResponseWriter, r *http.Request, next http.HandlerFunc) {
	defer func() {
		cause := recover()
		if cause == nil {
			return
		}
		h.cfg.Log.Error("API request panicked", "method", r.Method, "path", r.URL.Path, "err", cause, "stack", string(debug.Stack()))
		if a, ok := w.(*edge.Answer); ok {
			a.Reset()
			newProblem(http.StatusInternalServerError, "the server failed; its log says why").Write(a)
		}
	}()
	next(w, r)
}

func (h *Handler) refuse(w http.ResponseWriter, p *Problem) {
	a := edge.NewAnswer()
	p.Write(a)
	a.Send(w)
}
