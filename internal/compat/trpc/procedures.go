package trpc

import (
	"context"
	"math"
	"strings"
	"time"

	"github.com/broadcastd/broadcastd/internal/auth"
	"github.com/broadcastd/broadcastd/internal/control"
)

// An input holds what the payloads of all procedures may say.
type input struct {
	OrgID      string   `json:"orgId"`
	ID         string   `json:"id"`
	Name       string   `json:"name"`
	Ingest     string   `json:"ingest"`
	Alg        string   `json:"alg"`
	Use        string   `json:"use"`
	Page       *float64 `json:"page"`
	PerPage    *float64 `json:"perPage"`
	TTLSeconds *float64 `json:"ttlSeconds"`
	Scopes     []string `json:"scopes"`
	ExpiresAt  string   `json:"expiresAt"` // ISO 8601
	Period     string   `json:"period"`
}

// Which scopes let a key call a procedure. The contract's clients have keys with
// "streams:*" and use them for all of it, so that the wildcard covers the keys
// too: no single scope is called streams:keys.
var (
	read      = []control.Scope{"streams:read"}
	change    = []control.Scope{"streams:write"}
	readKeys  = []control.Scope{"keys:read", "streams:keys"}
	writeKeys = []control.Scope{"keys:write", "streams:keys"}
)

var procedures = map[string]procedure{
	"streams.liveInputs.create":            {true, change, createInput},
	"streams.liveInputs.get":               {false, read, getInput},
	"streams.liveInputs.list":              {false, read, listInputs},
	"streams.liveInputs.rotateStreamKey":   {true, change, rotateStreamKey},
	"streams.liveInputs.mintPlaybackToken": {true, change, mintPlaybackToken},

	"streams.signingKeys.create":     {true, writeKeys, createSigningKey},
	"streams.signingKeys.list":       {false, readKeys, listSigningKeys},
	"streams.signingKeys.deactivate": {true, writeKeys, deactivateSigningKey},

	"streams.apiKeys.create": {true, writeKeys, createAPIKey},
	"streams.apiKeys.get":    {false, readKeys, getAPIKey},
	"streams.apiKeys.list":   {false, readKeys, listAPIKeys},
	"streams.apiKeys.revoke": {true, writeKeys, revokeAPIKey},

	"streams.assets.list": {false, read, listAssets},
	"streams.assets.get":  {false, read, getAsset},

	"streams.analytics.overview": {false, read, overview},
	"streams.analytics.viewers":  {false, read, viewers},
	"streams.analytics.latency":  {false, read, latency},
	"streams.analytics.relay":    {false, read, relayHealth},
}

// iso is the form of times, ISO 8601 in UTC as JavaScript writes it.
const iso = "2006-01-02T15:04:05.000Z"

func isoTime(t time.Time) string { return t.UTC().Format(iso) }

// isoOrNull is isoTime for a time that may not have come.
func isoOrNull(t time.Time) *string {
	if t.IsZero() {
		return nil
	}
	s := isoTime(t)
	return &s
}

// A liveInput is a live input's row.
type liveInput struct {
	ID         string `json:"id"`
	ExternalID string `json:"external_input_id"`
	Name       string `json:"name"`
	Status     string `json:"status"`
	Ingest     string `json:"ingest"`
	CreatedAt  string `json:"createdAt"`
	// StreamKey is shown once, when it is made.
	StreamKey string `json:"stream_key_cleartext,omitempty"`
}

func inputRow(in control.LiveInput, streamKey string) liveInput {
	return liveInput{
		ID: in.ID, ExternalID: in.External, Name: in.Name, Status: in.Status,
		Ingest: string(in.Ingest), CreatedAt: isoTime(in.Created), StreamKey: streamKey,
	}
}

// ingests are the protocols that an input of the contract may take.
var ingests = []string{"fmp4", "whip", "rtmp", "srt"}

func createInput(ctx context.Context, h *Handler, _ caller, in input) (any, error) {
	if in.Name == "" {
		return nil, fail(codeBadRequest, "name: give the live input a name")
	}
	ingest, err := oneOf("ingest", in.Ingest, ingests)
	if err != nil {
		return nil, err
	}
	made, key, err := h.cfg.Control.CreateInput(ctx, control.NewInput{Org: in.OrgID, Name: in.Name, Ingest: auth.Ingest(ingest)})
	if err != nil {
		return nil, err
	}
	return inputRow(made, key), nil
}

// ownInput finds the live input that the payload names, by either of its ids.
// One of another organisation is as unknown as one that is not there.
func ownInput(ctx context.Context, h *Handler, in input) (control.LiveInput, error) {
	if in.ID == "" {
		return control.LiveInput{}, fail(codeBadRequest, "id: name the live input")
	}
	found, err := h.cfg.Control.Input(ctx, in.ID)
	if err == nil && found.Org != in.OrgID {
		return control.LiveInput{}, fail(codeNotFound, "id: there is no live input %.60q", in.ID)
	}
	return found, err
}

func getInput(ctx context.Context, h *Handler, _ caller, in input) (any, error) {
	found, err := ownInput(ctx, h, in)
	if err != nil {
		return nil, err
	}
	return inputRow(found, ""), nil
}

func listInputs(ctx context.Context, h *Handler, _ caller, in input) (any, error) {
	return page(in, func(p control.Page) (control.List[control.LiveInput], error) {
		return h.cfg.Control.Inputs(ctx, in.OrgID, p)
	}, func(i control.LiveInput) liveInput { return inputRow(i, "") })
}

func rotateStreamKey(ctx context.Context, h *Handler, _ caller, in input) (any, error) {
	found, err := ownInput(ctx, h, in)
	if err != nil {
		return nil, err
	}
	found, key, err := h.cfg.Control.RotateStreamKey(ctx, found.ID)
	if err != nil {
		return nil, err
	}
	return inputRow(found, key), nil
}

// The life of a playback token, which the contract has clamped.
const (
	minTTL     = 30 * time.Second
	maxTTL     = 24 * time.Hour
	defaultTTL = time.Hour
)

func clampTTL(seconds *float64) time.Duration {
	if seconds == nil {
		return defaultTTL
	}
	return time.Duration(min(max(math.Floor(*seconds), minTTL.Seconds()), maxTTL.Seconds())) * time.Second
}

type playbackToken struct {
	Token     string `json:"token"`
	KID       string `json:"kid"`
	Alg       string `json:"alg"`
	ExpiresAt int64  `json:"expires_at"` // Unix seconds
	Input     string `json:"input"`
	URL       string `json:"url"`
}

func mintPlaybackToken(ctx context.Context, h *Handler, c caller, in input) (any, error) {
	found, err := ownInput(ctx, h, in)
	if err != nil {
		return nil, err
	}
	t, err := h.cfg.Control.MintPlaybackToken(ctx, found.ID, control.TokenOptions{TTL: clampTTL(in.TTLSeconds)})
	if err != nil {
		return nil, err
	}
	row := playbackToken{Token: t.Token, KID: t.KeyID, Alg: string(t.Alg), ExpiresAt: t.Expires.Unix(), Input: found.External}
	if relay := h.cfg.Relay(c.req); relay != "" {
		row.URL = relay + "/playback/" + found.External + "?tok=" + t.Token
	}
	return row, nil
}

// oneOf checks a value of a closed set, of which the first is the default.
func oneOf(field, value string, of []string) (string, error) {
	if value == "" {
		return of[0], nil
	}
	for _, v := range of {
		if v == value {
			return v, nil
		}
	}
	return "", fail(codeBadRequest, "%s: %.40q is none of %s", field, value, strings.Join(of, ", "))
}

// The pages of a list, which the contract counts from 1.
const (
	defaultPerPage = 50
	maxPerPage     = 500
	maxPage        = 10_000
)

// page returns one numbered page of a list that control has behind cursors.
func page[T, R any](in input, list func(control.Page) (control.List[T], error), row func(T) R) (any, error) {
	number, err := whole("page", in.Page, 1, maxPage)
	if err != nil {
		return nil, err
	}
	size, err := whole("perPage", in.PerPage, defaultPerPage, maxPerPage)
	if err != nil {
		return nil, err
	}
	rows := make([]R, 0, size)
	skip := (number - 1) * size
	for p := (control.Page{Limit: maxPerPage}); len(rows) < size; {
		l, err := list(p)
		if err != nil {
			return nil, err
		}
		items := l.Items[min(skip, len(l.Items)):]
		skip -= len(l.Items) - len(items)
		for _, item := range items[:min(size-len(rows), len(items))] {
			rows = append(rows, row(item))
		}
		if p.After = l.Next; p.After == "" {
			break
		}
	}
	return rows, nil
}

// whole reads a whole number from 1 to most.
func whole(field string, v *float64, absent, most int) (int, error) {
	switch {
	case v == nil:
		return absent, nil
	case *v != math.Trunc(*v) || *v < 1 || *v > float64(most):
		return 0, fail(codeBadRequest, "%s: %v is not a whole number from 1 to %d", field, *v, most)
	}
	return int(*v), nil
}
