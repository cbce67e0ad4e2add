package sessions

import (
	"math"
	"net/http"
	"slices"
	"strings"

	"github.com/broadcastd/broadcastd/internal/control"
)

// A change is the body of PATCH, and part of that of POST. What is absent stays;
// in the maps, null removes a key.
type change struct {
	Status           *string        `json:"status"`
	Quality          *qualityChange `json:"quality"`
	Metadata         map[string]any `json:"metadata"`
	CustomProperties map[string]any `json:"customProperties"`
}

type qualityChange struct {
	TargetLatency   *float64 `json:"targetLatency"` // ms
	MaxBitrate      *float64 `json:"maxBitrate"`    // kbit/s
	AdaptiveBitrate *bool    `json:"adaptiveBitrate"`
}

// patch returns what control is to change.
func (q *qualityChange) patch() (p control.QualityPatch, err error) {
	if q == nil {
		return p, nil
	}
	if p.TargetLatency, err = whole("quality.targetLatency", q.TargetLatency); err != nil {
		return p, err
	}
	if p.MaxBitrate, err = whole("quality.maxBitrate", q.MaxBitrate); err != nil {
		return p, err
	}
	p.Adaptive = q.AdaptiveBitrate
	return p, nil
}

// whole reads a whole number, of which control knows the range.
func whole(field string, v *float64) (*int, error) {
	if v == nil {
		return nil, nil
	}
	if *v < 0 || *v > 1<<30 || *v != math.Trunc(*v) {
		return nil, invalid(field, "%s: %v is not a whole number, 0 or more", field, *v)
	}
	return new(int(*v)), nil
}

// patch changes a session.
func (h *Handler) patch(w http.ResponseWriter, r *http.Request, p control.Principal) error {
	s, err := h.session(r.Context(), r, p, control.SessionsWrite)
	if err != nil {
		return err
	}
	var c change
	if err := readBody(w, r, &c); err != nil {
		return err
	}
	to := control.SessionPatch{Metadata: c.Metadata, Custom: c.CustomProperties}
	if c.Status != nil {
		if !slices.Contains(statuses, *c.Status) {
			return invalid("status", "status: %.40q is none of %s", *c.Status, strings.Join(statuses, ", "))
		}
		to.Status = *c.Status
	}
	if to.Quality, err = c.Quality.patch(); err != nil {
		return err
	}
	if s, err = h.cfg.Control.PatchSession(r.Context(), s.ID, 0, to); err != nil {
		return err
	}
	return ok(w, http.StatusOK, struct {
		SessionID string         `json:"sessionId"`
		Protocol  string         `json:"protocol"`
		Status    string         `json:"status"`
		Quality   quality        `json:"quality"`
		Metadata  map[string]any `json:"metadata"`
		UpdatedAt string         `json:"updatedAt"`
	}{s.ID, s.Protocol, s.Status, qualityOf(s), orEmpty(s.Metadata), isoTime(s.Updated)})
}

// A creation is the body of POST.
type creation struct {
	SessionID string `json:"sessionId"` // empty: one is made
	// StreamID names a live input, by either of its ids, or an ad-hoc broadcast.
	// Without one the session's own id is the name.
	StreamID         string              `json:"streamId"`
	Org              string              `json:"org"`
	Protocol         string              `json:"protocol"`
	Constraints      control.Constraints `json:"constraints"`
	Quality          *qualityChange      `json:"quality"`
	Metadata         map[string]any      `json:"metadata"`
	CustomProperties map[string]any      `json:"customProperties"`
}

// create makes a session ahead of its ingest. It is idle until an encoder comes.
func (h *Handler) create(w http.ResponseWriter, r *http.Request, p control.Principal) error {
	if err := p.May(control.SessionsWrite, ""); err != nil {
		return err
	}
	var c creation
	if err := readBody(w, r, &c); err != nil {
		return err
	}
	q, err := c.Quality.patch()
	if err != nil {
		return err
	}
	n := control.NewSession{
		ID: c.SessionID, Org: h.orgOf(r, p, c), Input: c.StreamID, Protocol: c.Protocol, Constraints: c.Constraints,
		Metadata: c.Metadata, Custom: c.CustomProperties, Quality: control.Quality{Adaptive: q.Adaptive},
	}
	if q.TargetLatency != nil {
		n.Quality.TargetLatency = *q.TargetLatency
	}
	if q.MaxBitrate != nil {
		n.Quality.MaxBitrate = *q.MaxBitrate
	}
	if err := p.May(control.SessionsWrite, n.Org); err != nil {
		return err
	}
	if err := h.cfg.Control.EnsureOrg(r.Context(), p, n.Org); err != nil {
		return err
	}
	s, err := h.cfg.Control.CreateSession(r.Context(), n)
	if err != nil {
		return err
	}
	w.Header().Set("Location", Prefix+"sessions/"+s.ID)
	return ok(w, http.StatusCreated, h.shape(r.Context(), s))
}

// orgOf returns the organisation that a new session is for: the one that is
// named, that of its live input, the only one of the key, or local.
func (h *Handler) orgOf(r *http.Request, p control.Principal, c creation) string {
	if c.Org != "" {
		return c.Org
	}
	if in, err := h.cfg.Control.Input(r.Context(), c.StreamID); err == nil && p.May(control.SessionsWrite, in.Org) == nil {
		return in.Org
	}
	if len(p.Orgs) == 1 && p.Orgs[0] != control.AnyOrg {
		return p.Orgs[0]
	}
	return control.LocalOrg
}
