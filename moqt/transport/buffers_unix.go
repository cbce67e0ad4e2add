//go:build unix

package transport

import (
	"net"
	"runtime"
	"syscall"
)

// socketBuffers asks the kernel for the buffer sizes, where pc is a socket.
func socketBuffers(pc net.PacketConn) []socketBuffer {
	sc, ok := pc.(syscall.Conn)
	if !ok {
		return nil
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	receive, send := "kern.ipc.maxsockbuf", "kern.ipc.maxsockbuf"
	scale := 1
	if runtime.GOOS == "linux" {
		receive, send = "net.core.rmem_max", "net.core.wmem_max"
		scale = 2 // socket(7): the kernel doubles what it is asked for, and says so
	}
	var buffers []socketBuffer
	_ = rc.Control(func(fd uintptr) {
		if n, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF); err == nil {
			buffers = append(buffers, socketBuffer{"receive", receive, n / scale})
		}
		if n, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_SNDBUF); err == nil {
			buffers = append(buffers, socketBuffer{"send", send, n / scale})
		}
	})
	return buffers
}
