package api

import (
	"net/http"
	"strings"

	"github.com/broadcastd/broadcastd/internal/api/edge"
)

// cors lets pages of other sites read an answer. There are no cookies: who shows
// a key or a token has it, whatever page it comes from. What is answered to
// somebody because of where he sits (the loopback rule) is for our own pages.
func (h *Handler) cors(header http.Header, r *http.Request, acc access) {
	origin := r.Header.Get("Origin")
	if origin == "" && acc.kind != itself {
		header.Set("Access-Control-Allow-Origin", "*")
	}
	if origin == "" {
		return
	}
	allow := "*"
	if acc.kind == itself {
		header.Add("Vary", "Origin")
		if shown := r.URL.Query().Has("tok") || r.Header.Get("Authorization") != "" || r.Header.Get("X-API-Key") != ""; !shown {
			if !h.cfg.OwnOrigin(origin) {
				return
			}
			allow = origin
		}
	}
	header.Set("Access-Control-Allow-Origin", allow)
	header.Set("Access-Control-Expose-Headers", "ETag, Retry-After, Idempotency-Replayed")
}

// preflight answers what a browser asks before it sends a request of a page of
// another site. Whether the request itself may be sent is decided then.
func (h *Handler) preflight(w http.ResponseWriter, r *http.Request) {
	var methods []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPatch, http.MethodDelete} {
		probe := r.Clone(r.Context())
		probe.Method = method
		if _, pattern := h.mux.Handler(probe); pattern != "" {
			methods = append(methods, method)
		}
	}
	header := w.Header()
	a := edge.NewAnswer()
	a.WriteHeader(http.StatusNoContent)
	header.Set("Allow", strings.Join(append(methods, http.MethodOptions), ", "))
	header.Set("Access-Control-Allow-Origin", "*")
	header.Set("Access-Control-Allow-Methods", strings.Join(methods, ", "))
	header.Set("Access-Control-Allow-Headers", "Authorization, X-API-Key, Content-Type, If-Match, Idempotency-Key, Last-Event-ID")
	header.Set("Access-Control-Max-Age", "86400")
	a.Send(w)
}
