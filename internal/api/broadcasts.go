package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/broadcastd/broadcastd/internal/auth"
	"github.com/broadcastd/broadcastd/internal/control"
)

// A Gate decides about requests of pages: by the playback token that they show,
// or by the loopback rule. visible tells which namespaces one may see; the error
// is a sentence for people. Disconnect ends what let the selected in, and says
// how many.
type Gate interface {
	Page(r *http.Request) (visible func(namespace []string) bool, err error)
	Disconnect(who auth.Selector, reason string) int
}

// closed is the Gate that lets nobody in.
type closed struct{}

func (closed) Page(*http.Request) (func([]string) bool, error) {
	return nil, errors.New("this needs an API key")
}

func (closed) Disconnect(auth.Selector, string) int { return 0 }

// Broadcasts are what can be played at the moment. Who asks may change nothing
// of what it gets.
type Broadcasts interface{ Broadcasts() []Broadcast }

// A Broadcast is one of them.
type Broadcast struct {
	// Name is the namespace without its first field, such as "local/demo".
	Name string `json:"name" example:"local/demo"`
	// Namespace joins the fields of the track namespace with slashes. Its
	// last field is the id of /watch/{id}.
	Namespace string `json:"namespace" example:"stream/local/demo"`
	Live      bool   `json:"live"`
	// Since is when the broadcast went live; the zero time is left out.
	Since  time.Time `json:"since,omitzero"`
	Tracks []Track   `json:"tracks" nullable:"false"`
}

// A Track is one media track of a broadcast, as its catalog describes it.
// What is zero is left out.
type Track struct {
	Name       string  `json:"name"`
	Role       string  `json:"role,omitempty" example:"video"`
	Codec      string  `json:"codec,omitempty" example:"avc1.64001F" doc:"RFC 6381"`
	Width      int     `json:"width,omitempty" doc:"Pixels"`
	Height     int     `json:"height,omitempty"`
	Framerate  float64 `json:"framerate,omitempty" doc:"Frames per second"`
	Bitrate    int     `json:"bitrate,omitempty" doc:"Bits per second"`
	SampleRate int     `json:"sampleRate,omitempty" doc:"Hz"`
}

// BroadcastList is the answer of GET /api/v1/broadcasts.
type BroadcastList struct {
	Broadcasts []Broadcast `json:"broadcasts" nullable:"false"`
	MoQ        MoQ         `json:"moq"`
	// Time is the server's clock, so that a viewer whose own clock is off
	// still measures the delay.
	Time time.Time `json:"time" doc:"The server's clock, to measure delays against"`
}

// MoQ says where and how a browser opens its WebTransport session.
type MoQ struct {
	URL             string `json:"url"`
	CertificateHash string `json:"certificateHash,omitempty" doc:"SHA-256 of the certificate in hexadecimal, for serverCertificateHashes; absent: browsers trust it"`
	// CertificateHashes is the same and, around a change of certificate, the
	// one that comes next: a page that takes both reconnects across the change.
	CertificateHashes []string `json:"certificateHashes,omitempty" nullable:"false"`
}

type broadcastsOutput struct{ Body BroadcastList }

func (h *Handler) registerBroadcasts() {
	register(h, access{kind: itself}, operation{
		id: "list-broadcasts", method: http.MethodGet, path: "/broadcasts", tag: "Playback",
		summary: "List what can be played",
		about: "Those that the API key (scope streams:read) or the playback token may see. On the machine itself, a page of this " +
			"server or a program sees all without either.",
		errors: []int{http.StatusForbidden},
	}, h.listBroadcasts)
	register(h, public, operation{
		id: "get-playback", method: http.MethodGet, path: "/playback/{id}", tag: "Playback",
		summary: "Find out where an id is played", about: "Whether somebody may play it, the relay decides.", lenient: true,
		errors: []int{http.StatusNotFound},
	}, h.playback)
}

type broadcastsInput struct {
	Tok string `query:"tok" maxLength:"4096" doc:"Playback token"`
}

func (h *Handler) listBroadcasts(_ context.Context, c caller, _ *broadcastsInput) (*broadcastsOutput, error) {
	visible, err := h.visible(c)
	if err != nil {
		return nil, newProblem(http.StatusForbidden, err.Error())
	}
	l := BroadcastList{
		Broadcasts: []Broadcast{},
		MoQ:        MoQ{URL: h.cfg.MoQURL(c.request), CertificateHashes: h.cfg.CertificateHashes()},
		Time:       h.cfg.Now().UTC().Truncate(time.Millisecond),
	}
	if len(l.MoQ.CertificateHashes) > 0 {
		l.MoQ.CertificateHash = l.MoQ.CertificateHashes[0]
	}
	if h.cfg.Broadcasts != nil {
		for _, b := range h.cfg.Broadcasts.Broadcasts() {
			if !visible(strings.Split(b.Namespace, "/")) {
				continue
			}
			b.Tracks = some(b.Tracks)
			l.Broadcasts = append(l.Broadcasts, b)
		}
	}
	return &broadcastsOutput{l}, nil
}

// visible tells which namespaces the caller may see.
func (h *Handler) visible(c caller) (func(namespace []string) bool, error) {
	switch {
	case !showsAPIKey(c.request):
		return h.cfg.Gate.Page(c.request)
	case c.who.Admin:
		return func([]string) bool { return true }, nil
	}
	if err := c.may(control.StreamsRead, ""); err != nil {
		return nil, err
	}
	return func(ns []string) bool {
		return len(ns) == 3 && (slices.Contains(c.who.Orgs, ns[1]) || slices.Contains(c.who.Orgs, control.AnyOrg))
	}, nil
}
