package sessions

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/broadcastd/broadcastd/internal/compat/request"
	"github.com/broadcastd/broadcastd/internal/control"
)

// Prefix is where the contract's calls are.
const Prefix = "/api/v1/streaming/"

// Bounds of what one request may be.
const (
	maxBody  = 64 << 10 // bytes
	maxQuery = 4 << 10  // bytes
)

// A Config configures a Handler.
type Config struct {
	Control *control.Service // must be set
	// Meter has the live side of sessions. It must be set.
	Meter Meter
	// Limits bound what clients may ask for. Nil: nothing does.
	Limits request.Limits
	Now    func() time.Time // nil means time.Now
	Log    *slog.Logger     // nil discards
}

// A Handler is the http.Handler of /api/v1/streaming/.
type Handler struct {
	cfg Config
	mux *http.ServeMux
}

// New makes a Handler.
func New(cfg Config) (*Handler, error) {
	if cfg.Control == nil || cfg.Meter == nil {
		return nil, errors.New("sessions: Control and Meter must be set")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	h := &Handler{cfg: cfg, mux: http.NewServeMux()}
	h.on("sessions", map[string]call{"GET": h.list, "POST": h.create})
	h.on("sessions/{id}", map[string]call{"GET": h.get, "PATCH": h.patch, "DELETE": h.remove})
	h.on("sessions/{id}/webrtc/candidates", map[string]call{"GET": h.candidates})
	h.on("analytics/prometheus", map[string]call{"GET": h.export})
	h.mux.HandleFunc(Prefix, func(w http.ResponseWriter, r *http.Request) {
		h.refuse(w, r, &problem{status: http.StatusNotFound, reason: "there is no such resource"})
	})
	return h, nil
}

// A call answers one request of a principal.
type call func(w http.ResponseWriter, r *http.Request, p control.Principal) error

// on answers a path with a call for each method.
func (h *Handler) on(path string, calls map[string]call) {
	var methods []string
	for _, m := range []string{"GET", "POST", "PATCH", "DELETE"} {
		if calls[m] != nil {
			methods = append(methods, m)
		}
	}
	allow := strings.Join(append(methods, "OPTIONS"), ", ")
	h.mux.HandleFunc(Prefix+path, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodOptions {
			w.Header().Set("Access-Control-Allow-Methods", allow)
			w.Header().Set("Access-Control-Allow-Headers", "authorization, content-type, x-api-key")
			w.Header().Set("Access-Control-Max-Age", "86400")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		c := calls[r.Method]
		if c == nil {
			w.Header().Set("Allow", allow)
			h.refuse(w, r, &problem{status: http.StatusMethodNotAllowed, reason: fmt.Sprintf("%.20s is not for this resource, which takes %s", r.Method, allow)})
			return
		}
		p, err := h.admit(r)
		if err == nil {
			err = c(w, r, p)
		}
		if err != nil {
			h.refuse(w, r, err)
		}
	})
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// A page of any site may call: there are no cookies, the key is all.
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Access-Control-Expose-Headers", "Location, Retry-After")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	if len(r.URL.RawQuery) > maxQuery {
		h.refuse(w, r, &problem{status: http.StatusRequestURITooLong, reason: fmt.Sprintf("the query has %d bytes, at most %d are read", len(r.URL.RawQuery), maxQuery)})
		return
	}
	h.mux.ServeHTTP(w, r)
}

// admit tells who sends a request.
func (h *Handler) admit(r *http.Request) (control.Principal, error) {
	if no := request.Enter(r, h.cfg.Limits); no != nil {
		return control.Principal{}, no
	}
	p, no := request.Authenticate(r, h.cfg.Control, h.cfg.Limits, 1)
	if no != nil {
		return p, no
	}
	return p, nil
}

// A problem is a refusal: RFC 9457, with the field that is wrong.
type problem struct {
	status int
	field  string // empty: none
	reason string
}

func (p *problem) Error() string { return p.reason }

// invalid says what is wrong with a field.
func invalid(field, format string, args ...any) error {
	return &problem{http.StatusBadRequest, field, fmt.Sprintf(format, args...)}
}

var statusOf = map[control.Code]int{
	control.Unauthenticated: http.StatusUnauthorized,
	control.NotFound:        http.StatusNotFound,
	control.Conflict:        http.StatusConflict,
	control.Invalid:         http.StatusBadRequest,
	control.Forbidden:       http.StatusForbidden,
	control.Exhausted:       http.StatusTooManyRequests,
	control.Precondition:    http.StatusPreconditionFailed,
}

// refuse answers with a problem. What is no refusal is logged, and the client
// is told no more than that.
func (h *Handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	p, ok := errors.AsType[*problem](err)
	if no, is := errors.AsType[*request.Refusal](err); is {
		no.Headers(w.Header())
		p, ok = &problem{status: no.Status, reason: no.Reason}, true
	}
	if e, is := errors.AsType[*control.Error](err); !ok && is {
		p, ok = &problem{statusOf[e.Code], e.Field, e.Reason}, statusOf[e.Code] != 0
	}
	if !ok {
		if r.Context().Err() == nil {
			h.cfg.Log.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
		}
		p = &problem{status: http.StatusInternalServerError, reason: "something went wrong here; the server's log says what"}
	}
	if p.status == http.StatusTooManyRequests && w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", "1") // a bound of what is kept, not of requests
	}
	body := struct {
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
		Field  string `json:"field,omitempty"`
	}{http.StatusText(p.status), p.status, p.reason, p.field}
	answer(w, p.status, "application/problem+json", body)
}

// answer writes JSON. A client that has left by then is none of our errors.
func answer(w http.ResponseWriter, status int, kind string, body any) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(body); err != nil { // no shape here has what JSON lacks
		status = http.StatusInternalServerError
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_, _ = w.Write(out.Bytes())
}

func ok(w http.ResponseWriter, status int, body any) error {
	answer(w, status, "application/json", body)
	return nil
}

// readBody reads a JSON object into v. Fields that it does not know are left
// alone, because the contract's settings end with "etc".
func readBody(w http.ResponseWriter, r *http.Request, v any) error {
	raw, no := request.Body(w, r, maxBody)
	if no != nil {
		return no
	}
	err := json.Unmarshal(raw, v)
	if bad, is := errors.AsType[*json.UnmarshalTypeError](err); is && bad.Field != "" {
		return invalid(bad.Field, "%s: a JSON %s does not belong there", bad.Field, bad.Value)
	}
	if err != nil {
		return invalid("", "the body is not a JSON object")
	}
	return nil
}

// session finds the session that the path names, for a key with that scope. One
// of another organisation is as unknown as one that is not there.
func (h *Handler) session(ctx context.Context, r *http.Request, p control.Principal, scope control.Scope) (control.Session, error) {
	if err := p.May(scope, ""); err != nil {
		return control.Session{}, err
	}
	id := r.PathValue("id")
	s, err := h.cfg.Control.Session(ctx, id)
	unknown := &problem{status: http.StatusNotFound, field: "sessionId", reason: fmt.Sprintf("there is no session %.60q", id)}
	if e, is := errors.AsType[*control.Error](err); is && e.Code == control.NotFound {
		return s, unknown
	}
	if err != nil {
		return s, err
	}
	if p.May(scope, s.Org) != nil {
		return s, unknown
	}
	return s, nil
}
