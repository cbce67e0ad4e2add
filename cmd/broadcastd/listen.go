package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/broadcastd/broadcastd/ingest/srt"
	"github.com/broadcastd/broadcastd/internal/config"
)

// The listeners. A nil one is off.
type listeners struct {
	http, moqTCP, admin, rtmp, rtmps net.Listener
	moqUDP                           net.PacketConn
	srt                              []*srt.Listener
}

// listen binds every address that the settings name, or none.
func listen(c config.Config) (l listeners, err error) {
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	if l.http, err = listenTCP("http.listen", c.HTTP.Listen); err != nil {
		return l, err
	}
	if l.admin, err = listenTCP("admin.listen", c.Admin.Listen); err != nil {
		return l, err
	}
	if l.rtmp, err = listenTCP("rtmp.listen", c.RTMP.Listen); err != nil {
		return l, err
	}
	if l.rtmps, err = listenTCP("rtmps.listen", c.RTMPS.Listen); err != nil {
		return l, err
	}
	if l.srt, err = listenSRT(c.SRT); err != nil {
		return l, err
	}
	if c.MoQ.Listen == "" {
		return l, nil
	}
	l.moqUDP, l.moqTCP, err = listenBoth("moq.listen", c.MoQ.Listen)
	return l, err
}

// systemPorts is how many ports that the system chooses are tried.
const systemPorts = 16

// listenBoth binds the same port for UDP and TCP. Port 0 is one that the system
// chooses, which it does for UDP alone: with TCP it may be taken.
func listenBoth(key, addr string) (udp net.PacketConn, tcp net.Listener, err error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, nil, listenError(key, "UDP", addr, err)
	}
	for range systemPorts {
		if udp, err = net.ListenPacket("udp", addr); err != nil {
			return nil, nil, listenError(key, "UDP", addr, err)
		}
		tcp, err = listenTCP(key, net.JoinHostPort(host, portOf(udp.LocalAddr())))
		if err == nil {
			return udp, tcp, nil
		}
		udp.Close()
		if port != "0" || !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return nil, nil, err
}

func (l listeners) close() {
	for _, c := range []net.Listener{l.http, l.moqTCP, l.admin, l.rtmp, l.rtmps} {
		if c != nil {
			c.Close()
		}
	}
	if l.moqUDP != nil {
		l.moqUDP.Close()
	}
	for _, p := range l.srt {
		p.Close()
	}
}

func listenTCP(key, addr string) (net.Listener, error) {
	if addr == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, listenError(key, "TCP", addr, err)
	}
	return l, nil
}

// listenError says which setting to change, and how.
func listenError(key, network, addr string, err error) error {
	host, port, splitErr := net.SplitHostPort(addr)
	if splitErr != nil {
		return fmt.Errorf("%s: cannot listen at %s (%s): %w", key, addr, network, err)
	}
	why := err.Error()
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		why = fmt.Sprintf("%s port %s is in use by another program", network, port)
	case errors.Is(err, os.ErrPermission):
		why = fmt.Sprintf("%s port %s is not permitted to this user", network, port)
	}
	variable := "BROADCASTD_" + strings.ToUpper(strings.ReplaceAll(key, ".", "__"))
	return &portError{
		text: fmt.Sprintf("%s; choose another with %s in the config file, with the variable %s, or with --%s, for example %s=%s",
			why, key, variable, key, variable, net.JoinHostPort(host, another(port))),
		err: err,
	}
}

// a portError has its own words for err.
type portError struct {
	text string
	err  error
}

func (e *portError) Error() string { return e.text }
func (e *portError) Unwrap() error { return e.err }

// another suggests a port near one that is taken.
func another(port string) string {
	n, err := strconv.Atoi(port)
	switch {
	case err != nil:
		return port
	case n < 1024:
		return strconv.Itoa(n + 8000)
	case n > 65000:
		return strconv.Itoa(n - 100)
	}
	return strconv.Itoa(n + 1)
}

func portOf(a net.Addr) string {
	_, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return ""
	}
	return port
}
