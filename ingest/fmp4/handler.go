package fmp4

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/ingest"
)

const (
	bufferSize = 64 << 10
	// minProgress is how many bytes have to come within Config.Idle.
	minProgress = 1 << 10
	// maxManifest bounds a playlist that comes along with the segments.
	maxManifest = 1 << 20
	// maxFile bounds the path below /ingest/<name>.
	maxFile = 256
	// maxRenditions bounds the bodies that make one input.
	maxRenditions = 16
)

// Config configures a Handler.
type Config struct {
	// Sessions holds the sessions of the inputs. It must be set.
	Sessions *ingest.Registry
	// Allow decides on a request before its body is read; name is the one in its
	// path. Its error is shown to whoever asked, with status 403 or what its
	// HTTPStatus method says. It must be set.
	Allow func(r *http.Request, name string) (Admission, error)
	// Stats returns what reads the statistics of a request's connection. Nil: nobody
	// knows them.
	Stats func(r *http.Request) func() ingest.PeerStats
	// Demuxer says how streams are cut. Its Name and Repeated are not used.
	Demuxer cmaf.DemuxerConfig
	// Idle ends a request of which less than 1 KiB comes within that time.
	// Zero means 10 s.
	Idle time.Duration
	// MaxRate is how many bytes a second are read of one request, on average:
	// a faster sender waits. Zero means 12.5 MB/s, 100 Mbit/s.
	MaxRate int
	// MaxInputs bounds the inputs at a time. Zero means 256.
	MaxInputs int
	Log       *slog.Logger          // nil discards
	Metrics   prometheus.Registerer // nil registers none
}

// An Admission lets one request publish.
type Admission interface {
	// Name is the broadcast's, as Config.Sessions knows it.
	Name() string
	// Context ends when the sender may publish no longer; its cause says why.
	Context() context.Context
	Close()
}

// checked returns c with its defaults filled in, or every fault at once.
func (c Config) checked() (Config, error) {
	c.Idle = cmp.Or(c.Idle, 10*time.Second)
	c.MaxRate = cmp.Or(c.MaxRate, 12_500_000)
	c.MaxInputs = cmp.Or(c.MaxInputs, 256)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	var faults []error
	if c.Sessions == nil || c.Allow == nil {
		faults = append(faults, errors.New("fmp4: Config.Sessions or Config.Allow is nil"))
	}
	if c.Idle < 0 || c.MaxRate < 0 || c.MaxInputs < 0 {
		faults = append(faults, fmt.Errorf("fmp4: Idle %v, MaxRate %d, MaxInputs %d, want more than 0", c.Idle, c.MaxRate, c.MaxInputs))
	}
	return c, errors.Join(faults...)
}

// A Handler answers /ingest/<name> and the paths below it.
type Handler struct {
	cfg     Config
	metrics *metrics

	mu     sync.Mutex
	inputs map[string]*input
}

type metrics struct {
	requests *prometheus.CounterVec
	bytes    prometheus.Counter
	repeated prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	return &metrics{
		requests: f.NewCounterVec(prometheus.CounterOpts{
			Name: "broadcastd_ingest_http_requests_total", Help: "Ingest requests over HTTP, by the class of their answer.",
		}, []string{"class"}),
		bytes: f.NewCounter(prometheus.CounterOpts{
			Name: "broadcastd_ingest_http_bytes_total", Help: "Bytes of ingest bodies over HTTP.",
		}),
		repeated: f.NewCounter(prometheus.CounterOpts{
			Name: "broadcastd_ingest_http_repeated_samples_total", Help: "Samples over HTTP that were left out because they had come before.",
		}),
	}
}

// New makes a Handler.
func New(cfg Config) (*Handler, error) {
	cfg, err := cfg.checked()
	if err != nil {
		return nil, err
	}
	return &Handler{cfg: cfg, metrics: newMetrics(cfg.Metrics), inputs: make(map[string]*input)}, nil
}

// ServeHTTP implements http.Handler. A refusal is answered before the body is
// read, so that a client which sent "Expect: 100-continue" sends none.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	status, text := h.serve(w, r)
	h.metrics.requests.WithLabelValues(fmt.Sprintf("%dxx", status/100)).Inc()
	if status == 0 {
		return // whoever asked has left
	}
	if status < 300 {
		w.WriteHeader(status)
		return
	}
	// The rest of the body, which may be endless, is not waited for. HTTP/2
	// resets the one stream.
	if r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close")
	}
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "5")
	}
	http.Error(w, text, status)
	if r.ProtoMajor == 1 {
		http.NewResponseController(w).SetReadDeadline(time.Now().Add(lingering)) //nolint:errcheck // a test's recorder has none
	}
}

// lingering is how long a refused sender's bytes are still taken, so that it
// reads the answer before its connection breaks.
const lingering = 500 * time.Millisecond

func (h *Handler) serve(w http.ResponseWriter, r *http.Request) (status int, text string) {
	name, file, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/ingest/"), "/")
	admission, err := h.cfg.Allow(r, name)
	if err != nil {
		return refusal(err)
	}
	defer admission.Close()
	name = admission.Name()
	if len(file) > maxFile {
		return http.StatusRequestURITooLong, fmt.Sprintf("the path below the broadcast has %d bytes, at most %d are taken", len(file), maxFile)
	}
	switch r.Method {
	case http.MethodPost, http.MethodPut:
	case http.MethodDelete:
		if file != "" {
			return http.StatusNoContent, "" // a segmenter tidies up what was never kept
		}
		if !h.cfg.Sessions.End(name) {
			return http.StatusNotFound, fmt.Sprintf("there is no input %q", name)
		}
		return http.StatusNoContent, ""
	default:
		w.Header().Set("Allow", "POST, PUT, DELETE")
		return http.StatusMethodNotAllowed, "an input is sent with POST or PUT"
	}
	// With it, an answer goes out at once; else the server would first read
	// on, which never ends where a body does not.
	rc := http.NewResponseController(w)
	rc.EnableFullDuplex() //nolint:errcheck // HTTP/2 is always
	if manifest(file) {
		if _, err := io.Copy(io.Discard, http.MaxBytesReader(w, r.Body, maxManifest)); err != nil {
			return http.StatusRequestEntityTooLarge, fmt.Sprintf("a playlist may have %d bytes", maxManifest)
		}
		return http.StatusNoContent, ""
	}
	b := &body{h: h, rc: rc, r: r, file: file, name: name}
	defer context.AfterFunc(admission.Context(), func() {
		b.stop(&revokedError{context.Cause(admission.Context())})
	})()
	return b.serve()
}

// refusal returns the status and the sentence for a request that is not allowed.
func refusal(err error) (status int, text string) {
	if own, ok := errors.AsType[interface {
		error
		HTTPStatus() int
	}](err); ok {
		return own.HTTPStatus(), err.Error()
	}
	return http.StatusForbidden, err.Error()
}

// A revokedError says that a sender who was allowed to publish is no longer.
type revokedError struct{ cause error }

func (e *revokedError) Error() string { return e.cause.Error() }
func (e *revokedError) Unwrap() error { return e.cause }

// manifest reports whether file is a playlist, which nothing here needs.
func manifest(file string) bool {
	for _, ext := range []string{".mpd", ".m3u8", ".ism", ".xml", ".json"} {
		if strings.HasSuffix(file, ext) {
			return true
		}
	}
	return false
}

// answer returns the status and the sentence for how a body ended.
func answer(err error) (status int, text string) {
	box, isBox := errors.AsType[*cmaf.BoxError](err)
	if revoked, ok := errors.AsType[*revokedError](err); ok {
		return refusal(revoked)
	}
	switch {
	case err == nil:
		return http.StatusNoContent, ""
	case isBox:
		return http.StatusBadRequest, box.Error()
	case errors.Is(err, ingest.ErrTooManyTracks):
		return http.StatusBadRequest, err.Error()
	case errors.Is(err, errIdle):
		return http.StatusRequestTimeout, err.Error()
	case errors.Is(err, errGone):
		return 0, ""
	case errors.Is(err, ingest.ErrBusy):
		return http.StatusConflict, "another connection feeds this input, and it lets none take over"
	case errors.Is(err, ingest.ErrBitrate):
		return http.StatusRequestEntityTooLarge, err.Error()
	case errors.Is(err, ingest.ErrReplaced):
		return http.StatusConflict, "a newer connection of this input took over"
	case errors.Is(err, ingest.ErrEnded):
		return http.StatusGone, "the broadcast was ended"
	case errors.Is(err, errConflict):
		return http.StatusConflict, err.Error()
	case errors.Is(err, ingest.ErrTooMany):
		return http.StatusServiceUnavailable, err.Error()
	}
	return http.StatusInternalServerError, err.Error()
}
