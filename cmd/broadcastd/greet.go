package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"
)

// greet says what a person needs after a start: where everything is, and lines
// to copy. The key is for a terminal alone, so that it lands in no log file.
func (p process) greet(s *server, key, file string) {
	s.log.Info("listening",
		"version", version, "http", addrText(s.on.http), "moq", addrText(s.on.moqTCP), "rtmp", addrText(s.on.rtmp), "rtmps", addrText(s.on.rtmps), "srt", srtText(s.on.srt), "admin", addrText(s.on.admin),
		"state_dir", s.cfg.StateDir, "certificate", s.certs.Hash(), "config", file, "after", time.Since(p.start).Round(time.Millisecond/10))
	if s.cfg.Log.Format == "json" {
		return // machines read the output
	}
	switch {
	case key == "":
	case terminal(p.out):
		key += " (new; kept in the state directory, not shown again)"
	default:
		key = "in " + filepath.Join(s.cfg.StateDir, adminKeyFile) + " (new)"
	}
	io.WriteString(p.out, s.greeting(key, file)) //nolint:errcheck // nobody is left to tell
}

func addrText(l net.Listener) string {
	if l == nil {
		return ""
	}
	return l.Addr().String()
}

// near returns host:port to reach l from this machine.
func near(l net.Listener) string { return nearAddr(l.Addr()) }

func nearAddr(a net.Addr) string {
	if at, err := netip.ParseAddrPort(a.String()); err != nil || at.Addr().IsUnspecified() {
		return net.JoinHostPort("localhost", portOf(a))
	}
	return a.String()
}

// greeting returns the startup text.
func (s *server) greeting(key, file string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s\n\n", versionText())
	t := tabwriter.NewWriter(&b, 0, 0, 3, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(t, "  %s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	var site, moq string
	if s.on.http != nil {
		site = "http://" + near(s.on.http)
		row("page, ingest", "%s", site)
	}
	if s.on.moqTCP != nil {
		moq = near(s.on.moqTCP)
		row("MoQ", "moqt://%s (QUIC), https://%s (WebTransport, and the page)", moq, moq)
	}
	if s.on.rtmp != nil {
		row("RTMP", "rtmp://%s/live", near(s.on.rtmp))
	}
	if s.on.rtmps != nil {
		row("RTMPS", "rtmps://%s/live", near(s.on.rtmps))
	}
	for _, l := range s.on.srt {
		row("SRT", "srt://%s", nearAddr(l.Addr()))
	}
	if s.on.admin != nil {
		row("admin", "http://%s (/metrics /healthz /readyz)", near(s.on.admin))
	}
	row("state", "%s", s.cfg.StateDir)
	if file != "" {
		row("config", "%s", file)
	}
	pin := "" // what our own commands need to trust this server
	if hash := s.certs.Hash(); hash != "" {
		row("certificate", "SHA-256 %s, until %s", hash, s.certs.Leaf().NotAfter.Local().Format("2 Jan 15:04"))
		pin = " --cert-sha256 " + hash
	}
	if key != "" {
		row("admin key", "%s", key)
	}
	t.Flush() //nolint:errcheck // into memory

	name := "cam"
	if s.cfg.Demo {
		name = "demo"
	}
	if site != "" {
		fmt.Fprintf(&b, `
Publish a test picture with ffmpeg, or replace the two inputs by your own:

  ffmpeg -re -f lavfi -i testsrc2=size=1280x720:rate=30 -f lavfi -i sine=frequency=440:sample_rate=48000 \
    -c:v libx264 -preset veryfast -tune zerolatency -pix_fmt yuv420p -g 30 -b:v 2500k -c:a aac -b:a 128k \
    -f mp4 -movflags +frag_every_frame+empty_moov+default_base_moof -flush_packets 1 \
    -method POST -send_expect_100 1 %s/ingest/cam
%s
Play it:

  %s/watch/%s
`, site, s.rtmpLines("cam")+s.srtLines("cam"), site, name)
	}
	if moq != "" {
		fmt.Fprintf(&b, `
Record ten seconds of it:

  broadcastd record --relay moqt://%s%s \
    --namespace stream/local/%s --output %s.mp4 --duration 10s
`, moq, pin, name, name)
	}
	fmt.Fprintf(&b, `
Others need a key: "broadcastd key create --stream stream/local/%s" makes one to publish
with, "broadcastd url sign --namespace stream/local/%s" a URL to play. Ctrl-C ends this.

`, "cam", name)
	return b.String()
}
