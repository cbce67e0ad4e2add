package api

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/broadcastd/broadcastd/internal/auth"
	"github.com/broadcastd/broadcastd/internal/control"
)

// A LiveInput is a configured place to publish.
type LiveInput struct {
	ID         string            `json:"id" example:"li_4m2p"`
	ExternalID string            `json:"externalId" example:"lv_9x7q" doc:"What URLs to publish to and to play end with"`
	Org        string            `json:"org"`
	Name       string            `json:"name"`
	Ingest     string            `json:"ingest" doc:"Protocol that it takes"`
	Status     string            `json:"status" enum:"idle,live,errored"`
	Namespace  string            `json:"namespace" example:"stream/local/lv_9x7q" doc:"MoQ namespace that it is played under"`
	Settings   InputSettings     `json:"settings"`
	CreatedAt  time.Time         `json:"createdAt"`
	UpdatedAt  time.Time         `json:"updatedAt"`
	Publish    map[string]string `json:"publish,omitempty" doc:"Addresses that the input takes an encoder at, by protocol, without the stream key"`
	StreamKey  string            `json:"streamKey,omitempty" doc:"The stream key, in the answer that makes it and never again"`
	Passphrase string            `json:"passphrase,omitempty" doc:"The SRT passphrase, in the answer that makes it and never again"`
}

// InputSettings are what a live input allows and does.
type InputSettings struct {
	AnyIngest              bool     `json:"anyIngest,omitempty" doc:"Encoders may come by other protocols than ingest names"`
	AllowFrom              []string `json:"allowFrom,omitempty" nullable:"false" maxItems:"64" example:"[\"192.0.2.0/24\"]" doc:"Addresses and prefixes that may publish; none: all"`
	Takeover               string   `json:"takeover,omitempty" enum:"replace,refuse" doc:"What a second encoder does to the first. Absent: replace"`
	MaxBitrate             int64    `json:"maxBitrate,omitempty" minimum:"0" maximum:"1000000000" doc:"Bits per second; 0: any"`
	MaxTracks              int      `json:"maxTracks,omitempty" minimum:"0" maximum:"64" doc:"0: any that the server takes"`
	GroupDurationMs        int      `json:"groupDurationMs,omitempty" minimum:"0" maximum:"30000" doc:"Least length of a group in milliseconds, 100 to 30000; 0: the server's"`
	RequireEncryption      bool     `json:"requireEncryption,omitempty" doc:"Encoders that send in the clear are refused"`
	Record                 bool     `json:"record,omitempty" doc:"Keep what comes in. Nothing acts on it yet"`
	StartoverWindowSeconds int      `json:"startoverWindowSeconds,omitempty" minimum:"0" maximum:"86400" doc:"How far back viewers may go; 0: not at all. Nothing acts on it yet"`
	Backup                 string   `json:"backup,omitempty" maxLength:"2048" doc:"External id of the live input of the same organisation whose media goes out while the encoder brings none. A URL is kept, shown without its user, password and query, and not fetched yet"`
	Pull                   string   `json:"pull,omitempty" maxLength:"2048" doc:"URL to pull from. Shown without its user, password and query"`
}

type (
	inputOutput struct {
		ETag string `header:"ETag"`
		Body LiveInput
	}
	InputID struct {
		ID string `path:"id" maxLength:"128" example:"lv_9x7q" doc:"Either of a live input's ids"`
	}
)

func (h *Handler) registerInputs() {
	const tag = "Live inputs"
	read, write := needs(control.StreamsRead), needs(control.StreamsWrite)
	register(h, read, operation{
		id: "list-live-inputs", method: http.MethodGet, path: "/live-inputs", tag: tag, summary: "List live inputs", about: "The oldest first.",
	}, h.listInputs)
	register(h, write, operation{
		id: "create-live-input", method: http.MethodPost, path: "/live-inputs", tag: tag, status: http.StatusCreated,
		summary: "Make a live input", about: "The answer has its stream key, which is never shown again.",
	}, h.createInput)
	register(h, read, operation{
		id: "get-live-input", method: http.MethodGet, path: "/live-inputs/{id}", tag: tag, summary: "Get a live input",
	}, h.getInput)
	register(h, write, operation{
		id: "update-live-input", method: http.MethodPatch, path: "/live-inputs/{id}", tag: tag,
		summary: "Change a live input", about: "What the body does not name stays; null sets a setting back.",
		errors: []int{http.StatusPreconditionFailed},
	}, h.updateInput)
	register(h, write, operation{
		id: "delete-live-input", method: http.MethodDelete, path: "/live-inputs/{id}", tag: tag,
		summary: "Delete a live input", about: "What comes in and goes out ends.",
		errors: []int{http.StatusPreconditionFailed},
	}, h.deleteInput)
	register(h, write, operation{
		id: "rotate-stream-key", method: http.MethodPost, path: "/live-inputs/{id}/rotate-key", tag: tag,
		summary: "Give a live input another stream key", about: "The old one ends at once, and so does who publishes with it.",
	}, h.rotateKey)
	register(h, write, operation{
		id: "sign-live-input-url", method: http.MethodPost, path: "/live-inputs/{id}/playback-url", tag: tag, status: http.StatusCreated,
		summary: "Sign a URL that plays a live input",
	}, h.signInput)
	register(h, write, operation{
		id: "sign-playback-url", method: http.MethodPost, path: "/playback-url", tag: "Playback", status: http.StatusCreated,
		summary: "Sign a URL that plays a namespace",
	}, h.signNamespace)
}

// addresses leaves those of all addresses that the input takes an encoder at.
func addresses(all map[string]string, in control.LiveInput) map[string]string {
	maps.DeleteFunc(all, func(name, address string) bool {
		protocol := auth.Ingest(name)
		if name == "rtmps" {
			protocol = auth.RTMP
		}
		plain := strings.HasPrefix(address, "http:") || strings.HasPrefix(address, "rtmp:")
		return !in.Settings.AnyIngest && !in.Ingest.Takes(protocol) || in.Settings.RequireEncryption && plain
	})
	return all
}

func (h *Handler) inputRow(c caller, in control.LiveInput) LiveInput {
	s := in.Settings
	row := LiveInput{
		ID: in.ID, ExternalID: in.External, Org: in.Org, Name: in.Name, Ingest: string(in.Ingest), Status: in.Status,
		Namespace: strings.Join(in.Namespace(), "/"), CreatedAt: in.Created, UpdatedAt: in.Updated,
		Publish: addresses(h.cfg.Publish(c.request, in.External), in),
		Settings: InputSettings{
			AnyIngest: s.AnyIngest, Takeover: s.Takeover, MaxBitrate: s.MaxBitrate, MaxTracks: s.MaxTracks,
			GroupDurationMs: int(s.GroupDuration.Milliseconds()), RequireEncryption: s.RequireEncryption, Record: s.Record,
			StartoverWindowSeconds: int(s.StartoverWindow.Seconds()), Backup: redacted(s.Backup), Pull: redacted(s.Pull),
		},
	}
	for _, p := range s.AllowFrom {
		row.Settings.AllowFrom = append(row.Settings.AllowFrom, p.String())
	}
	return row
}

// redacted is a URL without what may be a secret in it.
func redacted(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

func (h *Handler) inputOutput(c caller, in control.LiveInput, streamKey string) *inputOutput {
	out := &inputOutput{etag(in.Revision), h.inputRow(c, in)}
	out.Body.StreamKey = streamKey
	return out
}

// input returns a live input that the caller may use with scope.
func (h *Handler) input(ctx context.Context, c caller, scope control.Scope, id string) (control.LiveInput, error) {
	in, err := h.cfg.Control.Input(ctx, id)
	if err == nil && c.may(scope, in.Org) != nil || control.CodeOf(err) == control.NotFound {
		err = notFound("live input", id)
	}
	return in, err
}

func (h *Handler) listInputs(ctx context.Context, c caller, in *OrgPage) (*itemList[LiveInput], error) {
	if err := c.may(control.StreamsRead, in.Org); err != nil {
		return nil, err
	}
	l, err := h.cfg.Control.Inputs(ctx, in.Org, in.page())
	if err != nil {
		return nil, err
	}
	return listOf(l, func(i control.LiveInput) LiveInput { return h.inputRow(c, i) }), nil
}

type createInputInput struct {
	Body struct {
		Org      string         `json:"org,omitempty" maxLength:"128" doc:"Organisation; absent: local"`
		Name     string         `json:"name" minLength:"1" maxLength:"200" example:"Main camera"`
		Ingest   string         `json:"ingest,omitempty" enum:"fmp4,whip,rtmp,srt,hls" doc:"Protocol that it takes: fmp4 is CMAF push and MoQ, hls is pulled. Absent: fmp4"`
		Settings *InputSettings `json:"settings,omitempty"`
	}
}

func (h *Handler) createInput(ctx context.Context, c caller, in *createInputInput) (*inputOutput, error) {
	org, err := h.org(ctx, c, control.StreamsWrite, in.Body.Org)
	if err != nil {
		return nil, err
	}
	n := control.NewInput{Org: org, Name: in.Body.Name, Ingest: auth.Ingest(in.Body.Ingest)}
	if n.Ingest == "" {
		n.Ingest = auth.FMP4
	}
	if s := in.Body.Settings; s != nil {
		allow, err := prefixes(s.AllowFrom)
		if err != nil {
			return nil, err
		}
		n.Settings = control.InputSettings{
			AnyIngest: s.AnyIngest, AllowFrom: allow, Takeover: s.Takeover, MaxBitrate: s.MaxBitrate, MaxTracks: s.MaxTracks,
			GroupDuration: ms(s.GroupDurationMs), RequireEncryption: s.RequireEncryption, Record: s.Record,
			StartoverWindow: seconds(s.StartoverWindowSeconds), Backup: s.Backup, Pull: s.Pull,
		}
	}
	made, key, err := h.cfg.Control.CreateInput(ctx, n)
	if err != nil {
		return nil, err
	}
	return h.inputOutput(c, made, key), nil
}

func ms(n int) time.Duration      { return time.Duration(n) * time.Millisecond }
func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

// prefixes reads addresses, each of which is a prefix too.
func prefixes(texts []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for i, text := range texts {
		p, err := prefix(text)
		if err != nil {
			return nil, wrong(indexed("body.settings.allowFrom", i), "expected an address or a prefix, such as 192.0.2.0/24")
		}
		out = append(out, p)
	}
	return out, nil
}

func (h *Handler) getInput(ctx context.Context, c caller, in *InputID) (*inputOutput, error) {
	found, err := h.input(ctx, c, control.StreamsRead, in.ID)
	if err != nil {
		return nil, err
	}
	return h.inputOutput(c, found, ""), nil
}

type updateInputInput struct {
	InputID
	IfMatch
	Body struct {
		Name     string         `json:"name,omitempty" minLength:"1" maxLength:"200"`
		Settings *settingsPatch `json:"settings,omitempty"`
	}
}

type settingsPatch struct {
	AnyIngest              optional[bool]     `json:"anyIngest,omitzero"`
	AllowFrom              optional[[]string] `json:"allowFrom,omitzero" maxItems:"64"`
	Takeover               optional[string]   `json:"takeover,omitzero"`
	MaxBitrate             optional[int64]    `json:"maxBitrate,omitzero" minimum:"0" maximum:"1000000000"`
	MaxTracks              optional[int]      `json:"maxTracks,omitzero" minimum:"0" maximum:"64"`
	GroupDurationMs        optional[int]      `json:"groupDurationMs,omitzero" minimum:"0" maximum:"30000"`
	RequireEncryption      optional[bool]     `json:"requireEncryption,omitzero"`
	Record                 optional[bool]     `json:"record,omitzero"`
	StartoverWindowSeconds optional[int]      `json:"startoverWindowSeconds,omitzero" minimum:"0" maximum:"86400"`
	Backup                 optional[string]   `json:"backup,omitzero" maxLength:"2048"`
	Pull                   optional[string]   `json:"pull,omitzero" maxLength:"2048"`
}

// apply puts what the patch names into s.
func (p *settingsPatch) apply(s *control.InputSettings) error {
	allow, err := prefixes(p.AllowFrom.Value)
	if err != nil {
		return err
	}
	if p.AllowFrom.Set {
		s.AllowFrom = allow
	}
	if p.GroupDurationMs.Set {
		s.GroupDuration = ms(p.GroupDurationMs.Value)
	}
	if p.StartoverWindowSeconds.Set {
		s.StartoverWindow = seconds(p.StartoverWindowSeconds.Value)
	}
	p.AnyIngest.apply(&s.AnyIngest)
	p.Takeover.apply(&s.Takeover)
	p.MaxBitrate.apply(&s.MaxBitrate)
	p.MaxTracks.apply(&s.MaxTracks)
	p.RequireEncryption.apply(&s.RequireEncryption)
	p.Record.apply(&s.Record)
	p.Backup.apply(&s.Backup)
	p.Pull.apply(&s.Pull)
	return nil
}

func (h *Handler) updateInput(ctx context.Context, c caller, in *updateInputInput) (*inputOutput, error) {
	found, err := h.input(ctx, c, control.StreamsWrite, in.ID)
	if err != nil {
		return nil, err
	}
	rev, err := in.revision(found.Revision)
	if err != nil {
		return nil, err
	}
	updated, err := h.cfg.Control.UpdateInput(ctx, found.ID, rev, func(s *control.InputSettings, name *string) error {
		if in.Body.Name != "" {
			*name = in.Body.Name
		}
		if in.Body.Settings == nil {
			return nil
		}
		return in.Body.Settings.apply(s)
	})
	if err != nil {
		return nil, err
	}
	return h.inputOutput(c, updated, ""), nil
}

type deleteInputInput struct {
	InputID
	IfMatch
}

func (h *Handler) deleteInput(ctx context.Context, c caller, in *deleteInputInput) (*struct{}, error) {
	found, err := h.input(ctx, c, control.StreamsWrite, in.ID)
	if err != nil {
		return nil, err
	}
	rev, err := in.revision(found.Revision)
	if err != nil {
		return nil, err
	}
	return nil, h.cfg.Control.DeleteInput(ctx, found.ID, rev)
}

func (h *Handler) rotateKey(ctx context.Context, c caller, in *InputID) (*inputOutput, error) {
	found, err := h.input(ctx, c, control.StreamsWrite, in.ID)
	if err != nil {
		return nil, err
	}
	found, key, err := h.cfg.Control.RotateStreamKey(ctx, found.ID)
	if err != nil {
		return nil, err
	}
	return h.inputOutput(c, found, key), nil
}

func indexed(field string, i int) string { return fmt.Sprintf("%s[%d]", field, i) }
