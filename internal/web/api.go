package web

import (
	"encoding/json"
	"net/http"
	"time"
)

// A Lister says which broadcasts a request may see, or why it may see none, in a
// sentence for people. The handler asks for each request of the list, from many
// goroutines, and does not change what it gets.
type Lister interface {
	Broadcasts(*http.Request) ([]Broadcast, error)
}

// A Broadcast is one row of GET /api/v1/broadcasts.
type Broadcast struct {
	// Name is the namespace without its first field, such as "local/demo".
	Name string `json:"name"`
	// Namespace joins the fields of the track namespace with slashes. Its
	// last field is the id of /watch/{id}.
	Namespace string `json:"namespace"`
	Live      bool   `json:"live"`
	// Since is when the broadcast went live; the zero time is left out.
	Since  time.Time `json:"since,omitzero"`
	Tracks []Track   `json:"tracks"`
}

// A Track is one media track of a broadcast, as its catalog describes it.
// What is zero is left out.
type Track struct {
	Name       string  `json:"name"`
	Role       string  `json:"role,omitempty"`  // "video", "audio"
	Codec      string  `json:"codec,omitempty"` // RFC 6381
	Width      int     `json:"width,omitempty"` // pixels
	Height     int     `json:"height,omitempty"`
	Framerate  float64 `json:"framerate,omitempty"`  // frames per second
	Bitrate    int     `json:"bitrate,omitempty"`    // bits per second
	SampleRate int     `json:"sampleRate,omitempty"` // Hz
}

// list is the whole answer.
type list struct {
	Broadcasts []Broadcast `json:"broadcasts"`
	MoQ        moq         `json:"moq"`
	// Time is the server's clock, so that a viewer whose own clock is off
	// still measures the delay.
	Time time.Time `json:"time"`
}

// moq says where and how a browser opens its WebTransport session.
type moq struct {
	URL string `json:"url"`
	// CertificateHash is the certificate's SHA-256 in hexadecimal, for
	// serverCertificateHashes; empty when browsers trust it anyway.
	CertificateHash string `json:"certificateHash,omitempty"`
	// CertificateHashes is the same and, around a change of certificate, the
	// one that comes next: a page that takes both reconnects across the change.
	CertificateHashes []string `json:"certificateHashes,omitempty"`
}

// serveList answers GET /api/v1/broadcasts.
func (h *Handler) serveList(w http.ResponseWriter, r *http.Request) {
	broadcasts, err := h.c.Lister.Broadcasts(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	l := list{
		Broadcasts: broadcasts,
		MoQ:        moq{URL: h.c.MoQURL(r), CertificateHashes: h.c.CertificateHashes()},
		Time:       h.c.Now().UTC().Truncate(time.Millisecond),
	}
	if len(l.MoQ.CertificateHashes) > 0 {
		l.MoQ.CertificateHash = l.MoQ.CertificateHashes[0]
	}
	if l.Broadcasts == nil {
		l.Broadcasts = []Broadcast{}
	}
	for i := range l.Broadcasts {
		if l.Broadcasts[i].Tracks == nil { // a list, in JSON too
			l.Broadcasts = append([]Broadcast(nil), l.Broadcasts...)
			l.Broadcasts[i].Tracks = []Track{}
		}
	}
	body, err := json.Marshal(l)
	if err != nil {
		http.Error(w, "the list cannot be written as JSON", http.StatusInternalServerError)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(append(body, '\n')) // the client may have gone
}
