// Package api serves our own HTTP API: the resources of /api/v1, which huma
// describes (OpenAPI 3.1) and checks, a page that shows the description, and the
// public keys. What the resources mean is internal/control's; this package
// translates, and holds what comes from the network to its form, its right and
// its rate.
package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/broadcastd/broadcastd/internal/api/edge"
	"github.com/broadcastd/broadcastd/internal/control"
)

// Base is where the resources are.
const Base = "/api/v1"

// Config configures a Handler. Control must be set.
type Config struct {
	Control *control.Service
	// Gate decides about what shows a playback token or nothing. Nil refuses it.
	Gate Gate
	// Broadcasts are what can be played at the moment. Nil: nothing.
	Broadcasts Broadcasts
	// Analytics has the figures. Nil answers 503.
	Analytics Analytics

	// MoQURL gives the relay's address for whoever sent the request, such as
	// "https://example.org:4443"; nil or an empty one: there is no relay.
	MoQURL func(*http.Request) string
	// RelayURL gives the same in the form of players' URLs, "moq://example.org:4443".
	RelayURL func(*http.Request) string
	// CertificateHashes gives the SHA-256, in hexadecimal, of each certificate
	// that may stand there, the one in use first. Nil: browsers trust it.
	CertificateHashes func() []string
	// SiteURL gives the address of the pages for whoever sent the request. Nil
	// takes the host that it names.
	SiteURL func(*http.Request) string
	// Publish gives the addresses to publish a live input to, by protocol,
	// without its stream key. Nil: none.
	Publish func(r *http.Request, external string) map[string]string
	// OwnOrigin says whether an Origin is one of our pages. Nil: none is.
	OwnOrigin func(origin string) bool

	Version string // of the server
	Limits  Limits
	Now     func() time.Time // nil means time.Now
	Log     *slog.Logger     // nil discards
}

func (c Config) checked() (Config, error) {
	if c.Control == nil {
		return c, errors.New("api: Config.Control is nil")
	}
	if c.MoQURL == nil {
		c.MoQURL = func(*http.Request) string { return "" }
	}
	if c.RelayURL == nil {
		c.RelayURL = func(*http.Request) string { return "" }
	}
	if c.CertificateHashes == nil {
		c.CertificateHashes = func() []string { return nil }
	}
	if c.SiteURL == nil {
		c.SiteURL = sameSite
	}
	if c.Publish == nil {
		c.Publish = func(*http.Request, string) map[string]string { return nil }
	}
	if c.OwnOrigin == nil {
		c.OwnOrigin = func(string) bool { return false }
	}
	if c.Gate == nil {
		c.Gate = closed{}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	c.Version = cmp.Or(c.Version, "0")
	c.Limits = c.Limits.withDefaults()
	return c, nil
}

// sameSite is where the request was sent to.
func sameSite(r *http.Request) string {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + r.Host
}

// A Handler is the http.Handler of the Paths.
type Handler struct {
	cfg  Config
	mux  *http.ServeMux
	huma huma.API
	// adapter, routes and faults are of the time while it is made.
	adapter *adapter
	routes  []Route
	faults  []error

	addresses, keys, failed *edge.Limiter
	replays                 *edge.Replays
	streams                 streams
	docs                    documents

	life  context.Context // ends the event streams
	close context.CancelFunc
}

// A Route is one operation and who may use it.
type Route struct {
	Method, Path string
	Access       string // "public", a scope, "admin", or what else is asked
}

// New makes a Handler. It starts nothing.
func New(cfg Config) (*Handler, error) {
	cfg, err := cfg.checked()
	if err != nil {
		return nil, err
	}
	l := cfg.Limits
	h := &Handler{
		cfg: cfg, mux: http.NewServeMux(),
		addresses: edge.NewLimiter(l.Address, l.AddressBurst, l.Clients, cfg.Now),
		keys:      edge.NewLimiter(l.Key, l.KeyBurst, l.Clients, cfg.Now),
		failed:    edge.NewLimiter(l.Failed, l.FailedBurst, l.Clients, cfg.Now),
		replays:   edge.NewReplays(l.Replays, l.ReplayBytes, cfg.Now),
		streams:   streams{most: l.Streams, mostOfKey: l.KeyStreams},
	}
	h.life, h.close = context.WithCancel(context.Background())
	h.adapter = &adapter{h: h, access: map[string]access{}}
	h.huma = huma.NewAPI(description(cfg.Version), h.adapter)
	h.registerOrgs()
	h.registerInputs()
	h.registerPassphrases()
	h.registerKeys()
	h.registerSessions()
	h.registerRevocations()
	h.registerBroadcasts()
	h.registerAnalytics()
	h.registerEvents()
	h.registerVersion()
	h.registerDocs()
	h.registerLater()
	return h, errors.Join(h.faults...)
}

// Paths are the patterns that belong to the Handler in the site's mux.
func (h *Handler) Paths() []string {
	return append([]string{"/api/", "/openapi.json", "/openapi.yaml", "/docs", "/docs/", "/.well-known/jwks.json"}, laterPaths()...)
}

// Routes are all operations, with who may use each.
func (h *Handler) Routes() []Route { return h.routes }

// Close ends the event streams, which would not end by themselves.
func (h *Handler) Close() { h.close() }

func (h *Handler) openapi() *huma.OpenAPI { return h.huma.OpenAPI() }

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		// Also of a body that nobody wants: the server reads it before it answers.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime)) // not every ResponseWriter has one
	}
	if r.Method == http.MethodOptions {
		h.preflight(w, r)
		return
	}
	handler, pattern := h.mux.Handler(r)
	if pattern != "" {
		h.mux.ServeHTTP(w, r) // which fills in the path's values
		return
	}
	// The mux knows whether it is the path or the method that is wrong.
	a := edge.NewAnswer()
	handler.ServeHTTP(a, r)
	h.cors(w.Header(), r, public)
	if wait, ok := h.addresses.Take(edge.Address(r.RemoteAddr), 1); !ok {
		h.refuse(w, limited(wait, "this address sends too many requests"))
		return
	}
	if a.Status() == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", a.Header().Get("Allow"))
		h.refuse(w, newProblem(a.Status(), fmt.Sprintf("%.20q is not for this path; it takes %s", r.Method, a.Header().Get("Allow"))))
		return
	}
	h.refuse(w, newProblem(http.StatusNotFound, "there is nothing at this path; /docs lists what there is"))
}

// operation is what the description of a route needs besides its types.
type operation struct {
	id, method, path string
	tag              string
	summary          string
	about            string // more than a sentence needs
	status           int    // of success; 0 for huma's own choice
	errors           []int  // besides those that every route has
	events           bool   // the answer is a stream of Events
	lenient          bool   // parameters that it does not know are let pass
}

// register adds an operation. Its handler's error is a *Problem or one of
// control's.
func register[I, O any](h *Handler, acc access, o operation, handle func(context.Context, caller, *I) (*O, error)) {
	op := o.describe(acc)
	h.adapter.access[op.Method+" "+op.Path] = acc
	h.routes = append(h.routes, Route{op.Method, op.Path, acc.String()})
	huma.Register(h.huma, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := handle(ctx, from(ctx), in)
		if err != nil {
			return nil, h.problemOf(ctx, err)
		}
		return out, nil
	})
}

// may says whether the caller may do what needs scope in org.
func (c caller) may(scope control.Scope, org string) error { return c.who.May(scope, org) }

// PageQuery are the parameters of every list.
type PageQuery struct {
	Cursor string `query:"cursor" maxLength:"300" doc:"next of the part before"`
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"How many items at most"`
}

func (q PageQuery) page() control.Page { return control.Page{After: q.Cursor, Limit: q.Limit} }

// OrgQuery names the organisation of a list.
type OrgQuery struct {
	Org string `query:"org" default:"local" minLength:"1" maxLength:"128" doc:"Organisation"`
}

// An itemList is one part of a list.
type itemList[T any] struct {
	Body struct {
		Items []T    `json:"items" nullable:"false"`
		Next  string `json:"next,omitempty" doc:"cursor of the next part; absent: this is the last"`
	}
}

// listOf translates a list of control's.
func listOf[T, R any](l control.List[T], row func(T) R) *itemList[R] {
	out := &itemList[R]{}
	out.Body.Items, out.Body.Next = make([]R, len(l.Items)), l.Next
	for i, item := range l.Items {
		out.Body.Items[i] = row(item)
	}
	return out
}

// etag is the entity tag of a revision (RFC 9110 section 8.8.3).
func etag(revision uint64) string { return fmt.Sprintf(`"%d"`, revision) }

// IfMatch is the precondition of a change.
type IfMatch struct {
	Tags string `header:"If-Match" maxLength:"300" doc:"ETag of what the change was made for; with another one it is refused"`
}

// revision returns the revision that is asked for: that of one of the entity
// tags, or 0 where any will do. current is the one that there is.
func (m IfMatch) revision(current uint64) (uint64, error) {
	if m.Tags == "" || strings.TrimSpace(m.Tags) == "*" {
		return 0, nil
	}
	for tag := range strings.SplitSeq(m.Tags, ",") {
		if strings.TrimSpace(tag) == etag(current) {
			return current, nil
		}
	}
	return 0, newProblem(http.StatusPreconditionFailed, "it has changed since; get it again, and decide again",
		FieldError{Location: "header.If-Match", Message: "the ETag is now " + etag(current)})
}
