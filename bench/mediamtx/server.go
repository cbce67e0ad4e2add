package mediamtx

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// A Server is where a MediaMTX listens.
type Server struct {
	Addr  string // of MoQ over QUIC
	RTMP  string // of the RTMP input
	Admin string // of its pprof pages
	// Ready is a part of the line that it logs when it listens.
	Ready string
	// Args are those of the command.
	Args []string
}

// Configure writes a configuration to dir, where it is to run: MoQ and the RTMP input, on free
// ports of the loopback interface, and everything else as it comes.
func Configure(dir string) (Server, error) {
	var ports []string
	for _, network := range []string{"udp", "udp", "tcp", "tcp", "tcp"} {
		port, err := freePort(network)
		if err != nil {
			return Server{}, err
		}
		ports = append(ports, "127.0.0.1:"+port)
	}
	s := Server{Addr: ports[0], Admin: ports[3], RTMP: ports[4], Ready: ports[0] + " (UDP/QUIC)"}
	lines := []string{
		"logLevel: info",
		"rtsp: false", "hls: false", "webrtc: false", "srt: false",
		"rtmp: true",
		"rtmpAddress: " + s.RTMP,
		"moq: true",
		"moqQUICAddress: " + s.Addr,
		"moqHTTP3Address: " + ports[1],
		"moqHTTP2Address: " + ports[2],
		"moqServerKey: auto.key", // made in the directory that it runs in
		"moqServerCert: auto.crt",
		"pprof: true",
		"pprofAddress: " + s.Admin,
		"paths:", "  all_others:", "",
	}
	name := filepath.Join(dir, "mediamtx.yml")
	s.Args = []string{name}
	return s, os.WriteFile(name, []byte(strings.Join(lines, "\n")), 0o644)
}

func freePort(network string) (string, error) {
	var addr net.Addr
	if network == "udp" {
		c, err := net.ListenPacket(network, "127.0.0.1:0")
		if err != nil {
			return "", fmt.Errorf("mediamtx: %w", err)
		}
		defer c.Close()
		addr = c.LocalAddr()
	} else {
		l, err := net.Listen(network, "127.0.0.1:0")
		if err != nil {
			return "", fmt.Errorf("mediamtx: %w", err)
		}
		defer l.Close()
		addr = l.Addr()
	}
	_, port, err := net.SplitHostPort(addr.String())
	return port, err
}
