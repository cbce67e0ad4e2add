package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/broadcastd/broadcastd/ingest/rtmp"
	"github.com/broadcastd/broadcastd/internal/auth"
)

// newRTMP makes the input for encoders that speak RTMP.
func (s *server) newRTMP(reg prometheus.Registerer) (*rtmp.Server, error) {
	return rtmp.New(rtmp.Config{Sessions: s.sessions, Allow: s.allowRTMP, Log: s.log, Metrics: reg})
}

// allowRTMP decides about an encoder that wants to publish over RTMP.
func (s *server) allowRTMP(ctx context.Context, a rtmp.Attempt) (rtmp.Admission, error) {
	admission, err := s.gate.Publish(ctx, auth.PublishRequest{
		Protocol: auth.RTMP, Remote: a.Remote, Name: a.Name, StreamKey: a.StreamKey, Token: a.Token, Encrypted: a.Encrypted,
	})
	if err != nil {
		return nil, err // not a nil *auth.Admission, which is no nil rtmp.Admission
	}
	return admission, nil
}

// serveRTMP serves RTMP and RTMPS, where they are on.
func (s *server) serveRTMP(g *errgroup.Group, ctx context.Context) { //nolint:revive // the context is the group's
	if s.on.rtmp != nil {
		g.Go(func() error { return s.rtmp.Serve(ctx, s.on.rtmp) })
	}
	if s.on.rtmps != nil {
		c := s.certs.Config().Clone()
		c.NextProtos = nil
		g.Go(func() error { return s.rtmp.Serve(ctx, tls.NewListener(s.on.rtmps, c)) })
	}
}

// rtmpLines returns the lines to copy for encoders.
func (s *server) rtmpLines(name string) string {
	if s.on.rtmp == nil {
		return ""
	}
	return fmt.Sprintf(`
Or over RTMP: in OBS the server rtmp://%s/live with the stream key %s, and with ffmpeg

  ffmpeg -re -i INPUT -c:v libx264 -preset veryfast -g 30 -c:a aac -f flv rtmp://%s/live/%s
`, near(s.on.rtmp), name, near(s.on.rtmp), name)
}

func isRTMP(name string) bool {
	return strings.HasPrefix(name, "rtmp://") || strings.HasPrefix(name, "rtmps://")
}
