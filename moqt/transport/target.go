package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/quic-go/quic-go"
)

// A target is a parsed URL of a relay.
type target struct {
	webTransport bool
	scheme       string
	host         string // without brackets
	port         uint16
	authority    string // as in the URL, without user information
	path, query  string // escaped; query without its question mark
}

// String returns the URL without its query, which may hold a token.
func (t target) String() string {
	if t.authority == "" {
		return "URL"
	}
	return t.scheme + "://" + t.authority + t.path
}

// requestURI returns path and query.
func (t target) requestURI() string {
	if t.query == "" {
		return t.path
	}
	return t.path + "?" + t.query
}

// parseTarget parses raw. Its errors do not quote it, because of the query.
func parseTarget(raw string) (target, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return target{}, errors.New("the URL is malformed")
	}
	t := target{scheme: u.Scheme, host: u.Hostname(), authority: u.Host, path: u.EscapedPath(), query: u.RawQuery, port: 443}
	switch u.Scheme {
	case "moqt", "moq":
	case "https":
		t.webTransport = true
		if t.path == "" {
			t.path = "/"
		}
	default:
		return target{}, fmt.Errorf("scheme %q, want moqt or https", u.Scheme)
	}
	if t.host == "" {
		return target{}, errors.New("the URL has no host")
	}
	if u.User != nil {
		return t, errors.New("the URL has user information, which MoQT has no use for")
	}
	if p := u.Port(); p != "" {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return t, fmt.Errorf("port %q, want 1 to 65535", p)
		}
		t.port = uint16(n)
	}
	return t, nil
}

// SetupOptions returns what a client's SETUP must say in AUTHORITY and PATH
// about the URL that it dialed (section 3.1). Both are empty for WebTransport,
// where the CONNECT request says it.
func SetupOptions(url string) (authority, path string, err error) {
	t, err := parseTarget(url)
	if err != nil || t.webTransport {
		return "", "", err
	}
	return t.authority, t.requestURI(), nil
}

// maxAddrs is how many of a host's addresses are tried.
const maxAddrs = 6

// resolve looks the host up, and orders its addresses by turns of family,
// beginning with the one that the system prefers (RFC 8305 section 4).
func (t target) resolve(ctx context.Context) ([]netip.AddrPort, error) {
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", t.host)
	if err != nil {
		return nil, err
	}
	var first, second []netip.AddrPort
	for _, ip := range ips {
		ip = ip.Unmap()
		if ip.Is4() == ips[0].Unmap().Is4() {
			first = append(first, netip.AddrPortFrom(ip, t.port))
		} else {
			second = append(second, netip.AddrPortFrom(ip, t.port))
		}
	}
	var addrs []netip.AddrPort
	for i := 0; i < max(len(first), len(second)); i++ {
		if i < len(first) {
			addrs = append(addrs, first[i])
		}
		if i < len(second) {
			addrs = append(addrs, second[i])
		}
	}
	return addrs[:min(len(addrs), maxAddrs)], nil
}

// attemptDelay is the head start that each address has over the next.
const attemptDelay = 250 * time.Millisecond

// dialQUIC connects to the first of addrs that answers. Each attempt has a
// socket of its own, which closes with its connection.
func dialQUIC(ctx context.Context, addrs []netip.AddrPort, t target, cfg DialConfig, alpn []string) (*quic.Conn, error) {
	qc, err := race(ctx, addrs, func(ctx context.Context, addr netip.AddrPort) (*quic.Conn, error) {
		return quic.DialAddr(ctx, addr.String(), clientTLS(cfg, t.host, alpn...), quicConfig())
	})
	if err != nil {
		return nil, handshakeError(t.String(), alpn, err)
	}
	return qc, nil
}

type attempt struct {
	qc  *quic.Conn
	err error
}

// race starts a dial to each address, attemptDelay apart or as soon as one has
// failed, and returns the first that succeeds, else the first error. The others
// have ended when it returns.
func race(ctx context.Context, addrs []netip.AddrPort, dial func(context.Context, netip.AddrPort) (*quic.Conn, error)) (*quic.Conn, error) {
	ctx, cancel := context.WithCancel(ctx)
	results := make(chan attempt, len(addrs))
	var (
		winner   *quic.Conn
		firstErr error
		running  int
	)
	next := time.NewTimer(0)
	defer next.Stop()
	for len(addrs) > 0 || running > 0 {
		start := next.C
		if len(addrs) == 0 || winner != nil {
			start, addrs = nil, nil
			if running == 0 {
				break
			}
		}
		select {
		case <-start:
			addr := addrs[0]
			addrs = addrs[1:]
			running++
			go func() {
				qc, err := dial(ctx, addr)
				results <- attempt{qc, err}
			}()
			next.Reset(attemptDelay)
		case a := <-results:
			running--
			switch {
			case a.err != nil:
				if firstErr == nil && winner == nil {
					firstErr = a.err
				}
				next.Reset(0)
			case winner == nil:
				winner = a.qc
				cancel()
			default:
				_ = a.qc.CloseWithError(0, "")
			}
		}
	}
	cancel()
	if winner != nil {
		return winner, nil
	}
	return nil, firstErr
}
