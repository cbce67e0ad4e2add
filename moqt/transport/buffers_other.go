//go:build !unix

package transport

import "net"

// socketBuffers knows nothing of this system's sockets.
func socketBuffers(net.PacketConn) []socketBuffer { return nil }
