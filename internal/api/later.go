package api

import (
	"encoding/json"
	"net/http"

	"github.com/broadcastd/broadcastd/internal/api/edge"
)

// later are the surfaces of contracts that are still to be built, so that a
// client of them is told so rather than that it has the address wrong.
var later = map[string][]string{
	"pipelines": {
		"/create-pipeline", "/create", "/get-pipeline", "/get", "/pipeline-state", "/state", "/delete", "/schedule-actions",
		"/cancel-scheduled-action", "/reset-history", "/token", "/decode", "/iptv", "/get-vod-archive", "/passphrase",
	},
	"analysis sessions": {"/api/keys/verify", "/api/live/"},
}

func laterPaths() (paths []string) {
	for _, of := range later {
		paths = append(paths, of...)
	}
	return paths
}

// registerLater answers 501 there. The clients read the sentence from message,
// error or detail.
func (h *Handler) registerLater() {
	for what, paths := range later {
		sentence := "this server does not have " + what + " yet; docs/contracts.md says what it has"
		body, err := json.Marshal(map[string]any{"message": sentence, "error": sentence, "detail": sentence, "status": http.StatusNotImplemented})
		if err != nil {
			h.faults = append(h.faults, err)
		}
		for _, path := range paths {
			h.mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
				if wait, ok := h.addresses.Take(edge.Address(r.RemoteAddr), 1); !ok {
					h.refuse(w, limited(wait, "this address sends too many requests"))
					return
				}
				a := edge.NewAnswer()
				a.Header().Set("Content-Type", "application/json")
				a.WriteHeader(http.StatusNotImplemented)
				_, _ = a.Write(body) // never fails
				a.Send(w)
			})
		}
	}
}
