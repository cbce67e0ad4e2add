package api

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/broadcastd/broadcastd/internal/api/edge"
)

// description is the OpenAPI description before the operations are in it.
func description(version string) huma.Config {
	c := huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title:       "broadcastd",
				Version:     version,
				Description: strings.TrimSpace(introduction),
				License:     &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
			},
			Servers: []*huma.Server{{URL: "/"}},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", schemaName),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"bearer": {Type: "http", Scheme: "bearer", Description: "API key, tqs_live_…, or the admin key"},
					"apiKey": {Type: "apiKey", In: "header", Name: "X-API-Key", Description: "The same key, in a header of its own"},
					"token":  {Type: "apiKey", In: "query", Name: "tok", Description: "Playback token"},
				},
			},
			Tags: []*huma.Tag{
				{Name: "Live inputs", Description: "Configured places to publish."},
				{Name: "Playback", Description: "What can be played, where, and by whom."},
				{Name: "Sessions", Description: "Runs of inputs, from their start to their end."},
				{Name: "Analytics", Description: "Figures."},
				{Name: "Events", Description: "What happens, as it happens."},
				{Name: "Signing keys", Description: "What signs playback URLs."},
				{Name: "Stream keys", Description: "What lets encoders publish ad-hoc streams."},
				{Name: "API keys", Description: "What lets programs call this API."},
				{Name: "Organisations", Description: "Who owns all of that."},
				{Name: "Server", Description: "The server itself."},
			},
		},
		Formats:                      map[string]huma.Format{"application/json": edge.JSON(), "json": edge.JSON()},
		DefaultFormat:                "application/json",
		RejectUnknownQueryParameters: true,
		Transformers:                 []huma.Transformer{edge.Ours},
	}
	return c
}

//go:embed introduction.md
var introduction string

// describe makes the OpenAPI operation of o. Every one says what its errors are.
func (o operation) describe(acc access) huma.Operation {
	path := o.path
	if !strings.HasPrefix(path, "/.") {
		path = Base + path
	}
	op := huma.Operation{
		OperationID: o.id, Method: o.method, Path: path, Tags: []string{o.tag}, Summary: o.summary, Description: o.about,
		DefaultStatus: o.status, Extensions: map[string]any{"x-access": acc.String()}, Responses: map[string]*huma.Response{},
		SkipValidateParams: o.lenient,
	}
	key := []map[string][]string{{"bearer": {}}, {"apiKey": {}}}
	switch acc.kind {
	case open:
		op.Security = []map[string][]string{}
	case itself:
		op.Security = append(key, map[string][]string{"token": {}}, map[string][]string{})
	case scoped, admin, undeclared:
		op.Security = key
	}
	statuses := append([]int{http.StatusTooManyRequests}, o.errors...)
	if acc.kind == scoped || acc.kind == admin {
		statuses = append(statuses, http.StatusUnauthorized, http.StatusForbidden)
	}
	if strings.Contains(path, "{") {
		statuses = append(statuses, http.StatusNotFound)
	}
	if o.method != http.MethodGet {
		statuses = append(statuses, http.StatusConflict)
	}
	if o.method == http.MethodPost || o.method == http.MethodPatch {
		statuses = append(statuses, http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType)
	}
	statuses = append(statuses, http.StatusUnprocessableEntity)
	for _, status := range statuses {
		op.Responses[strconv.Itoa(status)] = problemResponse(status)
	}
	op.Responses["default"] = &huma.Response{Description: "Refused, or failed", Content: problemContent}
	if o.events {
		op.Responses["200"] = &huma.Response{
			Description: "Server-sent events, each with an Event as data",
			Content:     map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Ref: "#/components/schemas/Event"}}},
		}
	}
	if o.method == http.MethodPost {
		op.Parameters = append(op.Parameters, &huma.Param{
			Name: "Idempotency-Key", In: "header", Schema: &huma.Schema{Type: "string", MaxLength: ptr(edge.MaxIdempotencyKey)},
			Description: "A text of your choice. A request that is repeated with it within 24 hours gets the answer of the first.",
		})
	}
	return op
}

func ptr[T any](v T) *T { return &v }

var problemContent = map[string]*huma.MediaType{
	"application/problem+json": {Schema: &huma.Schema{Ref: "#/components/schemas/Problem"}},
}

func problemResponse(status int) *huma.Response {
	r := &huma.Response{Description: http.StatusText(status), Content: problemContent}
	if status == http.StatusTooManyRequests {
		r.Headers = map[string]*huma.Param{"Retry-After": {Description: "Seconds", Schema: &huma.Schema{Type: "integer"}}}
	}
	return r
}

//go:embed docs
var docsFiles embed.FS

// documents are what describes the API, as it is sent.
type documents map[string]document

type document struct {
	contentType, etag string
	body              []byte
}

func newDocument(contentType string, body []byte) document {
	sum := sha256.Sum256(body)
	return document{contentType, `"` + hex.EncodeToString(sum[:8]) + `"`, body}
}

func (h *Handler) registerVersion() {
	type version struct {
		Version string `json:"version" example:"0.1.0"`
		API     string `json:"api" example:"v1"`
	}
	type output struct{ Body version }
	register(h, public, operation{
		id: "get-version", method: http.MethodGet, path: "/version", tag: "Server", summary: "Version of the server",
	}, func(context.Context, caller, *struct{}) (*output, error) {
		return &output{version{h.cfg.Version, "v1"}}, nil
	})

	type keys struct {
		ContentType  string `header:"Content-Type"`
		CacheControl string `header:"Cache-Control"`
		ETag         string `header:"ETag"`
		Body         []byte
	}
	o := operation{
		id: "get-jwks", method: http.MethodGet, path: "/.well-known/jwks.json", tag: "Signing keys",
		summary: "Public signing keys", about: "As a JWK set (RFC 7517), for servers that verify playback tokens themselves.",
	}
	register(h, public, o, func(context.Context, caller, *struct{}) (*keys, error) {
		doc := newDocument("application/jwk-set+json", h.cfg.Control.JWKS())
		// A verifier may go on with what it has for a day when this server is away.
		return &keys{doc.contentType, "public, max-age=60, stale-if-error=86400", doc.etag, doc.body}, nil
	})
}

// registerDocs puts the description together, after all operations.
func (h *Handler) registerDocs() {
	api := h.openapi()
	schemas := api.Components.Schemas
	for _, t := range []reflect.Type{reflect.TypeFor[Problem](), reflect.TypeFor[Event]()} {
		schemas.Schema(t, true, t.Name())
	}
	for _, own := range []string{"ErrorModel", "ErrorDetail"} { // huma's, which are never sent
		delete(schemas.Map(), own)
	}
	text, err := json.MarshalIndent(api, "", "  ")
	if err != nil {
		h.faults = append(h.faults, fmt.Errorf("api: the OpenAPI description: %w", err))
	}
	yaml, err := api.YAML()
	if err != nil {
		h.faults = append(h.faults, fmt.Errorf("api: the OpenAPI description: %w", err))
	}
	h.docs = documents{
		"/openapi.json": newDocument("application/openapi+json", append(text, '\n')),
		"/openapi.yaml": newDocument("application/openapi+yaml", yaml),
	}
	for path, f := range map[string]struct{ name, contentType string }{
		"/docs":          {"docs/index.html", "text/html; charset=utf-8"},
		"/docs/docs.js":  {"docs/docs.js", "text/javascript; charset=utf-8"},
		"/docs/docs.css": {"docs/docs.css", "text/css; charset=utf-8"},
	} {
		body, err := docsFiles.ReadFile(f.name)
		if err != nil {
			h.faults = append(h.faults, fmt.Errorf("api: %w", err))
		}
		h.docs[path] = newDocument(f.contentType, body)
	}
	for path := range h.docs {
		h.mux.Handle("GET "+path, http.HandlerFunc(h.serveDocument))
		h.routes = append(h.routes, Route{http.MethodGet, path, public.String()})
	}
}

// docsPolicy lets the page of the documentation run its own script, and call
// this server.
const docsPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'self'"

func (h *Handler) serveDocument(w http.ResponseWriter, r *http.Request) {
	h.cors(w.Header(), r, public)
	if wait, ok := h.addresses.Take(edge.Address(r.RemoteAddr), 1); !ok {
		h.refuse(w, limited(wait, "this address sends too many requests"))
		return
	}
	doc := h.docs[r.URL.Path]
	header := w.Header()
	header.Set("Cache-Control", "no-cache")
	header.Set("Content-Type", doc.contentType)
	header.Set("ETag", doc.etag)
	header.Set("Content-Security-Policy", docsPolicy)
	header.Set("Referrer-Policy", "no-referrer")
	a := edge.NewAnswer()
	if r.Header.Get("If-None-Match") == doc.etag {
		a.WriteHeader(http.StatusNotModified)
	} else {
		a.WriteHeader(http.StatusOK)
		_, _ = a.Write(doc.body) // never fails
	}
	a.Send(w)
}

// schemaName names a schema after its type.
func schemaName(t reflect.Type, hint string) string {
	name := huma.DefaultSchemaNamer(t, hint)
	if item, ok := strings.CutPrefix(name, "ItemList"); ok { // of what is not exported, which clients need no word for
		return strings.TrimSuffix(item, "Body") + "List"
	}
	if what, ok := strings.CutSuffix(name, "InputBody"); ok {
		return what + "Request"
	}
	return name
}
