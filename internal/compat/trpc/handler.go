package trpc

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/broadcastd/broadcastd/internal/compat/request"
	"github.com/broadcastd/broadcastd/internal/control"
)

// Prefix is where the procedures are.
const Prefix = "/api/trpc/"

// A Config configures a Handler.
type Config struct {
	Control *control.Service // must be set
	// Analytics answers streams.analytics.*; must be set.
	Analytics Analytics
	// Relay returns scheme, host and port under which the client that sent the
	// request finds the relay, as moq://host:port. It must be set.
	Relay func(*http.Request) string
	// Limits bound what clients may ask for. Nil: nothing does.
	Limits request.Limits
	Now    func() time.Time // nil means time.Now
	Log    *slog.Logger     // nil discards
}

// A Handler is the http.Handler of /api/trpc/.
type Handler struct{ cfg Config }

// New makes a Handler.
func New(cfg Config) (*Handler, error) {
	if cfg.Control == nil || cfg.Analytics == nil || cfg.Relay == nil {
		return nil, errors.New("trpc: Control, Analytics and Relay must be set")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Handler{cfg}, nil
}

// A caller is who makes a call, and by which request.
type caller struct {
	control.Principal
	req *http.Request
}

// A procedure is one row of the contract's table.
type procedure struct {
	mutation bool
	// scopes are those of which a key needs one.
	scopes []control.Scope
	call   func(ctx context.Context, h *Handler, c caller, in input) (any, error)
}

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// A page of any site may call: there are no cookies, the key is all.
	head := w.Header()
	head.Set("Access-Control-Allow-Origin", "*")
	head.Set("Access-Control-Expose-Headers", "Retry-After")
	head.Set("X-Content-Type-Options", "nosniff")
	names := strings.TrimPrefix(r.URL.Path, Prefix)
	switch r.Method {
	case http.MethodOptions:
		head.Set("Access-Control-Allow-Methods", "GET, POST")
		head.Set("Access-Control-Allow-Headers", "authorization, content-type, trpc-accept, x-api-key")
		head.Set("Access-Control-Max-Age", "86400")
		w.WriteHeader(http.StatusNoContent)
		return
	case http.MethodGet, http.MethodPost:
	default:
		head.Set("Allow", "GET, POST, OPTIONS")
		h.answer(w, r, false, failed(fail(codeMethod, "%.20s is not for procedures: queries are GET, mutations POST", r.Method), clip(names)))
		return
	}
	q, who, bad := h.admitted(w, r, names)
	if bad != nil {
		h.answer(w, r, q.batch, refusals(q, names, bad)...)
		return
	}
	answers := make([]envelope, len(q.calls))
	for i, c := range q.calls {
		if r.Context().Err() != nil {
			return // nobody waits for the rest
		}
		if data, err := h.call(r.Context(), who, c); err != nil {
			answers[i] = failed(h.refusal(err, c.path), c.path)
		} else {
			answers[i] = succeeded(data)
		}
	}
	h.answer(w, r, q.batch, answers...)
}

// answer writes; a client that has left by then is none of our errors.
func (h *Handler) answer(w http.ResponseWriter, r *http.Request, batch bool, answers ...envelope) {
	for _, a := range answers {
		if a.status() == http.StatusTooManyRequests && w.Header().Get("Retry-After") == "" {
			w.Header().Set("Retry-After", "1") // a bound of what is kept, not of requests
		}
	}
	if err := write(w, batch, answers); err != nil && r.Context().Err() == nil {
		h.cfg.Log.Debug("answer not sent", "err", err)
	}
}

// refusals refuses every call of a request for the same reason.
func refusals(q wireRequest, names string, err *callError) []envelope {
	if len(q.calls) == 0 {
		return []envelope{failed(err, clip(names))}
	}
	out := make([]envelope, len(q.calls))
	for i, c := range q.calls {
		out[i] = failed(err, c.path)
	}
	return out
}

// admitted reads a request and tells who makes its calls. Where it is refused,
// what was read of it tells for whom.
func (h *Handler) admitted(w http.ResponseWriter, r *http.Request, names string) (q wireRequest, who caller, _ *callError) {
	refused := func(no *request.Refusal) *callError {
		no.Headers(w.Header())
		return fail(codeOfStatus[no.Status], "%s", no.Reason)
	}
	if no := request.Enter(r, h.cfg.Limits); no != nil {
		return q, who, refused(no)
	}
	q, bad := parse(r, names)
	if bad != nil {
		return q, who, bad
	}
	p, no := request.Authenticate(r, h.cfg.Control, h.cfg.Limits, len(q.calls))
	if no != nil {
		return q, who, refused(no)
	}
	raw := []byte(r.URL.Query().Get("input"))
	if r.Method == http.MethodPost {
		if raw, no = request.Body(w, r, maxBody); no != nil {
			return q, who, refused(no)
		}
	}
	return q, caller{p, r}, q.spread(raw)
}

// codeOfStatus gives refusals of a request as a whole their code.
var codeOfStatus = map[int]code{
	http.StatusBadRequest: codeBadRequest, http.StatusUnauthorized: codeUnauthorized,
	http.StatusRequestEntityTooLarge: codeTooLarge, http.StatusTooManyRequests: codeTooMany,
}

// call makes one call.
func (h *Handler) call(ctx context.Context, who caller, c call) (any, error) {
	p, ok := procedures[c.path]
	if !ok {
		return nil, fail(codeNotFound, "there is no procedure %q", c.path)
	}
	if p.mutation && who.req.Method != http.MethodPost {
		return nil, fail(codeMethod, "%s is a mutation: send it with POST", c.path)
	}
	in, err := decode[input](c.input)
	if err != nil {
		return nil, err
	}
	if in.OrgID == "" {
		return nil, fail(codeBadRequest, "orgId: name the organisation, as in every payload")
	}
	if err := h.admit(ctx, who, p.scopes, in.OrgID); err != nil {
		return nil, err
	}
	return p.call(ctx, h, who, in)
}

// admit says whether a key may act in an organisation. One that an
// administrator's key names for the first time is made.
func (h *Handler) admit(ctx context.Context, who caller, scopes []control.Scope, org string) (err error) {
	for _, s := range scopes {
		if err = who.May(s, org); err == nil {
			return h.cfg.Control.EnsureOrg(ctx, who.Principal, org)
		}
	}
	return err
}

// refusal says in tRPC's terms why control refused. What is no refusal is
// logged, and the client is told no more than that.
func (h *Handler) refusal(err error, path string) *callError {
	if own, ok := errors.AsType[*callError](err); ok {
		return own
	}
	e, ok := errors.AsType[*control.Error](err)
	if !ok {
		h.cfg.Log.Error("procedure failed", "procedure", path, "err", err)
		return fail(codeInternal, "something went wrong here; the server's log says what")
	}
	c, ok := codeOf[e.Code]
	if !ok {
		c = codeInternal
	}
	if field := fieldOf[e.Field]; field != "" {
		return fail(c, "%s: %s", field, e.Reason)
	}
	return fail(c, "%v", e)
}

// fieldOf are the fields that the contract calls otherwise than control does.
var fieldOf = map[string]string{"org": "orgId", "orgs": "orgId", "expires": "expiresAt"}

var codeOf = map[control.Code]code{
	control.Unauthenticated: codeUnauthorized,
	control.NotFound:        codeNotFound,
	control.Conflict:        codeConflict,
	control.Invalid:         codeBadRequest,
	control.Forbidden:       codeForbidden,
	control.Exhausted:       codeTooMany,
	control.Precondition:    codePrecondition,
}
