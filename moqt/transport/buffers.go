package transport

import (
	"log/slog"
	"net"
)

// udpBuffer is what we ask of the kernel for each direction of the socket: at
// 1 Gbit/s it bridges about 60 ms in which nobody reads.
const udpBuffer = 8 << 20

// enoughBuffer is what quic-go gets us past the kernel's limit where it may
// (CAP_NET_ADMIN), so anything from there on is no reason to warn.
const enoughBuffer = 7 << 20

// askForBuffers asks for large socket buffers. What came of it is seen later.
func askForBuffers(pc net.PacketConn) {
	if c, ok := pc.(interface {
		SetReadBuffer(int) error
		SetWriteBuffer(int) error
	}); ok {
		_ = c.SetReadBuffer(udpBuffer)
		_ = c.SetWriteBuffer(udpBuffer)
	}
}

// warnSmallBuffers logs, once for each buffer, that the kernel gave less.
func warnSmallBuffers(log *slog.Logger, pc net.PacketConn) {
	for _, b := range socketBuffers(pc) {
		if b.bytes < enoughBuffer {
			log.Warn("UDP socket buffer is small: expect loss under load, raise the sysctl",
				"buffer", b.name, "bytes", b.bytes, "want", udpBuffer, "sysctl", b.sysctl)
		}
	}
}

// A socketBuffer is one of a socket's buffers as the kernel granted it.
type socketBuffer struct {
	name, sysctl string
	bytes        int
}
