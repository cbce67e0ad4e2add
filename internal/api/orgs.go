package api

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/broadcastd/broadcastd/internal/control"
)

// An Org is an organisation.
type Org struct {
	ID        string    `json:"id" example:"local"`
	CreatedAt time.Time `json:"createdAt"`
}

func orgRow(o control.Org) Org { return Org{ID: o.ID, CreatedAt: o.Created} }

type orgOutput struct{ Body Org }

func (h *Handler) registerOrgs() {
	register(h, needs(control.StreamsRead), operation{
		id: "list-orgs", method: http.MethodGet, path: "/orgs", tag: "Organisations",
		summary: "List organisations", about: "Those that the API key may act in.",
	}, h.listOrgs)
	register(h, access{kind: admin}, operation{
		id: "create-org", method: http.MethodPost, path: "/orgs", tag: "Organisations", status: http.StatusCreated,
		summary: "Make an organisation",
		about:   "Nothing happens if it is there. The admin key makes one also by naming it for the first time elsewhere.",
	}, h.createOrg)
}

func (h *Handler) listOrgs(ctx context.Context, c caller, in *struct{ PageQuery }) (*itemList[Org], error) {
	if c.who.Admin || slices.Contains(c.who.Orgs, control.AnyOrg) {
		l, err := h.cfg.Control.Orgs(ctx, in.page())
		if err != nil {
			return nil, err
		}
		return listOf(l, orgRow), nil
	}
	// A key has few of its own: they are one part.
	var own control.List[control.Org]
	for _, id := range c.who.Orgs {
		if o, err := h.cfg.Control.Org(ctx, id); err == nil {
			own.Items = append(own.Items, o)
		} else if control.CodeOf(err) != control.NotFound {
			return nil, err
		}
	}
	return listOf(own, orgRow), nil
}

type createOrgInput struct {
	Body struct {
		ID string `json:"id" minLength:"1" maxLength:"64" example:"org_abc" doc:"Letters, digits, - and _"`
	}
}

func (h *Handler) createOrg(ctx context.Context, c caller, in *createOrgInput) (*orgOutput, error) {
	if err := h.cfg.Control.EnsureOrg(ctx, c.who, in.Body.ID); err != nil {
		return nil, err
	}
	o, err := h.cfg.Control.Org(ctx, in.Body.ID)
	if err != nil {
		return nil, err
	}
	return &orgOutput{orgRow(o)}, nil
}
