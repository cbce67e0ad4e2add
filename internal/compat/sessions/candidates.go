package sessions

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/broadcastd/broadcastd/internal/control"
)

// A candidate is one ICE candidate (RFC 8839 section 5.1).
type candidate struct {
	Candidate      string `json:"candidate"`
	Foundation     string `json:"foundation"`
	Component      int    `json:"component"`
	Protocol       string `json:"protocol"`
	Priority       uint32 `json:"priority"`
	Address        string `json:"address"`
	Port           int    `json:"port"`
	Type           string `json:"type"`
	RelatedAddress string `json:"relatedAddress,omitempty"`
	RelatedPort    int    `json:"relatedPort,omitempty"`
	SDPMid         string `json:"sdpMid,omitempty"`
	SDPMLineIndex  *int   `json:"sdpMLineIndex,omitempty"`
	GatheredAt     string `json:"gatheredAt"`
}

type gathering struct {
	Host        int   `json:"host"`
	Srflx       int   `json:"srflx"`
	Prflx       int   `json:"prflx"`
	Relay       int   `json:"relay"`
	GatheringMs int64 `json:"gatheringMs"`
}

type candidates struct {
	SessionID  string      `json:"sessionId"`
	Candidates []candidate `json:"candidates"`
	IsComplete bool        `json:"isComplete"`
	HasMore    bool        `json:"hasMore"`
	Statistics gathering   `json:"statistics"`
}

var candidateTypes = []string{"host", "srflx", "prflx", "relay"}

// maxCandidates bounds ?limit=.
const maxCandidates = 1000

// candidates answers with the ICE candidates of a session. None of the inputs
// that there are gathers any, so that gathering is always over.
func (h *Handler) candidates(w http.ResponseWriter, r *http.Request, p control.Principal) error {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return invalid("", "the query of the URL cannot be read")
	}
	if t := q.Get("type"); t != "" && !slices.Contains(candidateTypes, t) {
		return invalid("type", "type: %.40q is none of %s", t, strings.Join(candidateTypes, ", "))
	}
	if since := q.Get("since"); since != "" {
		if _, err := time.Parse(time.RFC3339, since); err != nil {
			return invalid("since", "since: %.40q is no time of ISO 8601, such as 2026-01-31T12:00:00Z", since)
		}
	}
	if _, err := limit(q, 100, maxCandidates); err != nil {
		return err
	}
	s, err := h.session(r.Context(), r, p, control.SessionsRead)
	if err != nil {
		return err
	}
	return ok(w, http.StatusOK, candidates{SessionID: s.ID, Candidates: []candidate{}, IsComplete: true})
}

// limit reads ?limit=.
func limit(q url.Values, absent, most int) (int, error) {
	text := q.Get("limit")
	if text == "" {
		return absent, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, invalid("limit", "limit: %.20q is not a whole number from 1 to %d", text, most)
	}
	return n, nil
}
