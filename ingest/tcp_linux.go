package ingest

import (
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// TCPStats returns what reads the statistics of a TCP connection, which may be
// wrapped by what has a NetConn, as TLS does. Nil: it is none, or this system does
// not tell. After the connection's end they are zero.
func TCPStats(c net.Conn) func() PeerStats {
	for {
		wrapped, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		c = wrapped.NetConn()
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	return func() PeerStats { return readTCP(raw) }
}

func readTCP(raw syscall.RawConn) (st PeerStats) {
	raw.Control(func(fd uintptr) { //nolint:errcheck // it was closed: there is nothing to tell
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return
		}
		st = PeerStats{RTT: time.Duration(info.Rtt) * time.Microsecond, Bytes: info.Bytes_received}
	})
	return st
}
