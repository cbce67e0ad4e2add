package transport

import (
	"bytes"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"testing"
)

func TestWarnSmallBuffers(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the sysctl's name and the doubling are Linux's")
	}
	pc, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	if err := pc.SetReadBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	if err := pc.SetWriteBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	warnSmallBuffers(slog.New(slog.NewTextHandler(&log, nil)), pc)
	for _, want := range []string{"net.core.rmem_max", "net.core.wmem_max", "bytes=65536"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("logged %q, want a mention of %s", &log, want)
		}
	}
}
