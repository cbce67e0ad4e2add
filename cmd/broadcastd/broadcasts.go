package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
	"github.com/broadcastd/broadcastd/ingest"
	"github.com/broadcastd/broadcastd/internal/auth"
	"github.com/broadcastd/broadcastd/internal/config"
	"github.com/broadcastd/broadcastd/internal/live"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/publisher"
)

// broadcasts opens a broadcast for each session of an input: a publisher that the
// embedded relay announces.
type broadcasts struct {
	ctx    context.Context // of all publishers
	wg     sync.WaitGroup
	target publisher.Target
	group  func(input string) time.Duration
	log    *slog.Logger
}

// open begins to publish an input.
func (o *broadcasts) open(_ context.Context, what live.Opening) (live.Output, error) {
	name, log := what.Name, o.log.With("session", what.Session)
	ns, err := namespaceOf(name)
	if err != nil {
		return nil, err
	}
	p, err := publisher.New(ns, publisher.Config{
		GroupDuration: o.group(name), TargetLatency: what.TargetLatency, Published: what.Published, Log: log,
	})
	if err != nil {
		return nil, err
	}
	o.wg.Go(func() {
		if err := p.Run(o.ctx, o.target); err != nil && o.ctx.Err() == nil {
			log.Error("publishing ended", "namespace", ns.Path(), "err", err)
		}
	})
	return planned{publisher.NewTimeline(p, publisher.TimelineConfig{Log: log}), p}, nil
}

// namespaceOf returns the namespace of an input: of an ad-hoc one by its name,
// of another by its organisation and name, ORG/NAME.
func namespaceOf(input string) (track.Namespace, error) {
	if org, name, ok := strings.Cut(input, "/"); ok {
		return track.NewNamespace("stream", org, name)
	}
	return track.NewNamespace(auth.Namespace(input)...)
}

// inputOf is namespaceOf the other way round. Other namespaces are no inputs.
func inputOf(ns track.Namespace) (input string, ok bool) {
	f := ns.Fields()
	if len(f) != 3 || f[0] != "stream" || auth.CheckName(f[1]) != nil || auth.CheckName(f[2]) != nil {
		return "", false
	}
	if input = f[1] + "/" + f[2]; ns.Path() == strings.Join(auth.Namespace(f[2]), "/") {
		input = f[2]
	}
	return input, true
}

// planned is a broadcast for which the ends that ingest decides on are planned
// ones: viewers are told that it has ended, not that it broke.
type planned struct {
	cmaf.Broadcast
	p *publisher.Publisher
}

// SetTargetLatency implements live.Output.
func (b planned) SetTargetLatency(d time.Duration) { b.p.SetTargetLatency(d) }

func (b planned) Close(reason error) error {
	if errors.Is(reason, ingest.ErrLost) || errors.Is(reason, ingest.ErrEnded) || errors.Is(reason, ingest.ErrBitrate) {
		reason = nil
	}
	return b.Broadcast.Close(reason)
}

// own returns the host names that our pages are served under.
func own(c config.Config, hostname string) []string {
	var names []string
	for _, text := range []string{c.PublicURL, c.MoQ.Public} {
		if u, err := url.Parse(text); err == nil && u.Hostname() != "" {
			names = append(names, u.Hostname())
		}
	}
	if hostname != "" {
		names = append(names, hostname)
	}
	return names
}

// moqURL returns where a browser that sent r finds MoQ: at the host that it
// asked for, unless the settings name another.
func moqURL(c config.Config, addr net.Addr) func(*http.Request) string {
	ip, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return nil
	}
	return func(r *http.Request) string {
		if strings.HasPrefix(c.MoQ.Public, "https://") {
			return c.MoQ.Public
		}
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		host = strings.Trim(host, "[]")
		// localhost may mean ::1 to a browser, where an IPv4 socket does not hear it.
		if a := net.ParseIP(ip); host == "localhost" && a != nil && a.IsLoopback() {
			host = ip
		}
		return "https://" + net.JoinHostPort(host, port)
	}
}
