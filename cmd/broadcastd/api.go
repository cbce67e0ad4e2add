package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/broadcastd/broadcastd/internal/api"
	"github.com/broadcastd/broadcastd/internal/auth"
	"github.com/broadcastd/broadcastd/internal/directory"
	"github.com/broadcastd/broadcastd/internal/live"
)

// newAPI makes the HTTP API.
func (s *server) newAPI(rule auth.Loopback) (*api.Handler, error) {
	c := api.Config{
		Control: s.control, Gate: s.gate, Broadcasts: lister{s.directory}, Analytics: analytics{s.live},
		RelayURL: s.relayFor, CertificateHashes: s.certs.Hashes, Publish: s.publishURLs, Version: version, Log: s.log,
		OwnOrigin: func(origin string) bool {
			return rule.Page(&http.Request{Header: http.Header{"Origin": {origin}}}) == nil
		},
	}
	if s.on.moqUDP != nil {
		c.MoQURL = moqURL(s.cfg, s.on.moqUDP.LocalAddr())
	}
	if s.cfg.PublicURL != "" {
		c.SiteURL = func(*http.Request) string { return strings.TrimSuffix(s.cfg.PublicURL, "/") }
	}
	return api.New(c)
}

// routesOf are the API's routes in the site: the handler itself asks for keys.
func routesOf(h *api.Handler) []route {
	var routes []route
	for _, path := range h.Paths() {
		routes = append(routes, route{path, itself, h})
	}
	return routes
}

// publishURLs are the addresses of a live input for an encoder, for whoever asks.
func (s *server) publishURLs(r *http.Request, external string) map[string]string {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	site := "http://" + r.Host
	if r.TLS != nil {
		site = "https://" + r.Host
	}
	if u, err := url.Parse(s.cfg.PublicURL); err == nil && u.Host != "" {
		site, host = strings.TrimSuffix(s.cfg.PublicURL, "/"), u.Hostname()
	}
	host = strings.Trim(host, "[]")
	urls := map[string]string{"fmp4": site + "/ingest/" + external}
	if s.on.moqUDP != nil {
		relay := moqURL(s.cfg, s.on.moqUDP.LocalAddr())(r)
		urls["moqt"] = strings.Replace(relay, "https://", "moqt://", 1) + "/publish/" + external
	}
	if s.on.rtmp != nil {
		urls["rtmp"] = "rtmp://" + net.JoinHostPort(host, portOf(s.on.rtmp.Addr())) + "/live/" + external
	}
	if s.on.rtmps != nil {
		urls["rtmps"] = "rtmps://" + net.JoinHostPort(host, portOf(s.on.rtmps.Addr())) + "/live/" + external
	}
	if len(s.on.srt) > 0 {
		urls["srt"] = "srt://" + net.JoinHostPort(host, portOf(s.on.srt[0].Addr())) + "?streamid=" + external
	}
	return urls
}

// A lister is the api.Broadcasts of the directory.
type lister struct{ d *directory.Directory }

// Broadcasts implements api.Broadcasts.
func (l lister) Broadcasts() []api.Broadcast {
	var list []api.Broadcast
	for _, e := range l.d.List() {
		path := e.Namespace.Path()
		_, name, _ := strings.Cut(path, "/")
		b := api.Broadcast{Name: name, Namespace: path, Since: e.Since}
		if c := e.Catalog; c != nil {
			b.Live = !c.IsComplete && len(c.Tracks) > 0
			for _, t := range c.Tracks {
				b.Tracks = append(b.Tracks, api.Track{
					Name: t.Name, Role: t.Role, Codec: t.Codec, Width: t.Width, Height: t.Height,
					Framerate: t.FrameRate, Bitrate: t.Bitrate, SampleRate: t.SampleRate,
				})
			}
		}
		list = append(list, b)
	}
	return list
}

// analytics are the api.Analytics of the live side.
type analytics struct{ live *live.Service }

// periodOf returns the period of a length, which the API has checked.
func periodOf(d time.Duration) live.Period {
	for _, p := range []live.Period{live.Minute, live.QuarterOfAnHour, live.Hour} {
		if p.Duration() == d {
			return p
		}
	}
	return live.FiveMinutes
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func quantiles(q live.Quantiles) api.Quantiles {
	return api.Quantiles{P50Ms: milliseconds(q.P50), P95Ms: milliseconds(q.P95), P99Ms: milliseconds(q.P99), Count: q.Count}
}

// Overview implements api.Analytics.
func (f analytics) Overview(org string, period time.Duration) api.Overview {
	k := f.live.KPIs(live.Filter{Org: org}, periodOf(period))
	t := k.Totals
	return api.Overview{
		LiveSessions: k.LiveSessions, Viewers: k.Viewers, PeakViewers: k.PeakViewers, WatchedSeconds: k.Watched.Seconds(),
		IngestBitrate: k.Bitrate, IngestToPublish: quantiles(k.IngestToPublish), GlassToPublish: quantiles(k.GlassToPublish),
		Lateness: quantiles(k.Lateness), Quality: k.Quality,
		Totals: api.Totals{
			Sessions: t.Sessions, Connections: t.Connections, Errors: t.Errors, ReceivedBytes: t.Bytes, Frames: t.Frames,
			DroppedFrames: t.DroppedFrames, WatchedSeconds: t.Watched.Seconds(),
		},
	}
}

// Viewers implements api.Analytics.
func (f analytics) Viewers(org, input string, period time.Duration) []api.ViewerPoint {
	var points []api.ViewerPoint
	for _, p := range f.live.Series(live.Filter{Org: org, Input: input}, periodOf(period)) {
		points = append(points, api.ViewerPoint{Time: p.Time.UTC(), Viewers: p.Viewers, Sessions: p.Sessions, IngestBitrate: p.Bitrate})
	}
	return points
}

// Latency implements api.Analytics.
func (f analytics) Latency(org, input, measure string, period time.Duration) api.Histogram {
	h := f.live.Histogram(live.Filter{Org: org, Input: input}, live.Measure(measure), periodOf(period))
	out := api.Histogram{Counts: h.Counts, SumMs: milliseconds(h.Sum), Quantiles: quantiles(h.Quantiles())}
	for _, b := range h.Bounds {
		out.BoundsMs = append(out.BoundsMs, milliseconds(b))
	}
	return out
}

// Relay implements api.Analytics.
func (f analytics) Relay() api.RelayHealth {
	r := f.live.Relay()
	return api.RelayHealth{
		Sessions: r.Sessions, Namespaces: r.Namespaces, Tracks: r.Tracks, Subscriptions: r.Subscriptions,
		CacheBytes: r.CacheBytes, SentBytes: r.SentBytes, GroupsDropped: r.GroupsDropped, Jumps: r.Jumps, Stalls: r.Stalls,
		StreamsReset: r.StreamsReset, DeliveryLateness: quantiles(r.DeliveryLateness), FirstObject: quantiles(r.FirstObject),
	}
}

// serverFile says where the daemon of a state directory is.
const serverFile = "server.json"

// announce writes where the API is into the state directory, for commands on
// this machine. The file goes with the daemon.
func (s *server) announce() (remove func(), err error) {
	base := s.localURL()
	if base == "" {
		return func() {}, nil
	}
	path := filepath.Join(s.cfg.StateDir, serverFile)
	text, err := json.Marshal(map[string]any{"url": base, "pid": os.Getpid()})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", serverFile, err)
	}
	// Whole or not at all: somebody may read it just now.
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o600); err != nil {
		return nil, fmt.Errorf("%s: %w", serverFile, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return nil, fmt.Errorf("%s: %w", serverFile, err)
	}
	return func() { os.Remove(path) }, nil
}

// localURL is where this machine reaches the HTTP listener; empty: there is none.
func (s *server) localURL() string {
	if s.on.http == nil {
		return ""
	}
	host, port, err := net.SplitHostPort(s.on.http.Addr().String())
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}
