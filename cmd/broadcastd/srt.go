package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/broadcastd/broadcastd/ingest/srt"
	"github.com/broadcastd/broadcastd/internal/auth"
	"github.com/broadcastd/broadcastd/internal/config"
)

// listenSRT binds the ports of SRT.
func listenSRT(c config.SRT) (list []*srt.Listener, err error) {
	if c.Listen == "" && len(c.More) == 0 {
		return nil, nil
	}
	ports := c.More
	if c.Listen != "" {
		ports = append([]config.SRTListener{{Listen: c.Listen}}, ports...)
	}
	for i, p := range ports {
		key := "srt.more"
		if i == 0 && c.Listen != "" {
			key = "srt.listen"
		}
		l, err := srt.Listen(p.Listen, cmp.Or(p.Latency, c.Latency))
		if err != nil {
			return list, listenError(key, "UDP", p.Listen, err)
		}
		list = append(list, l)
	}
	return list, nil
}

// newSRT makes the input for encoders that speak SRT.
func (s *server) newSRT(reg prometheus.Registerer) (*srt.Server, error) {
	return srt.New(srt.Config{Sessions: s.sessions, Lookup: s.lookupSRT, Allow: s.allowSRT, Log: s.log, Metrics: reg})
}

// lookupSRT returns what a live input asks of whoever publishes over SRT.
func (s *server) lookupSRT(name string) (srt.Input, bool) {
	in, ok := s.gate.Lookup(name)
	return srt.Input{
		AllowFrom: in.Policy.AllowFrom, Passphrases: in.Policy.Passphrases, RequireEncryption: in.Policy.RequireEncryption,
	}, ok
}

// allowSRT decides about an encoder that wants to publish over SRT.
func (s *server) allowSRT(ctx context.Context, a srt.Attempt) (srt.Admission, error) {
	admission, err := s.gate.Publish(ctx, auth.PublishRequest{
		Protocol: auth.SRT, Remote: a.Remote, Name: a.Name, StreamKey: a.StreamKey, Encrypted: a.Encrypted,
	})
	if err != nil {
		code := srtCode(err)
		if _, right := errors.AsType[*auth.RefusedError](err); code == srt.Forbidden && a.StreamKey == "" && !right {
			code = srt.Unauthorized // a key may help
		}
		return nil, &srt.Refusal{Code: code, Err: err}
	}
	return admission, nil
}

// srtCode returns SRT's code for a refusal of the gate.
func srtCode(err error) srt.Code {
	switch auth.CodeOf(err) {
	case 0, auth.CodeWrongInput:
		return srt.Forbidden
	case auth.CodeLimited:
		return srt.Overload
	case auth.CodeUnavailable:
		return srt.Unavailable
	}
	return srt.Unauthorized
}

// serveSRT serves SRT, where it is on.
func (s *server) serveSRT(g *errgroup.Group, ctx context.Context) { //nolint:revive // the context is the group's
	for _, l := range s.on.srt {
		g.Go(func() error { return s.srt.Serve(ctx, l) })
	}
}

// srtText returns the addresses for the log.
func srtText(list []*srt.Listener) string {
	var texts []string
	for _, l := range list {
		texts = append(texts, l.Addr().String())
	}
	return strings.Join(texts, " ")
}

// srtLines returns the lines to copy for encoders.
func (s *server) srtLines(name string) string {
	if len(s.on.srt) == 0 {
		return ""
	}
	return fmt.Sprintf(`
Or over SRT:

  ffmpeg -re -i INPUT -c:v libx264 -preset veryfast -g 30 -c:a aac -f mpegts 'srt://%s?streamid=%s&pkt_size=1316'
`, nearAddr(s.on.srt[0].Addr()), name)
}

func isSRT(name string) bool { return strings.HasPrefix(name, "srt://") }

// newSRTPuller makes the input for an SRT URL.
func newSRTPuller(url string, log *slog.Logger) (*srt.Puller, error) {
	return srt.NewPuller(srt.PullConfig{URL: url, Log: log})
}
