package auth

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Loopback is the loopback rule. The zero value refuses everybody.
type Loopback struct {
	// Enabled is auth.loopback.
	Enabled bool
	// Own are host names and addresses that our own pages are served under,
	// without ports, beside localhost and the loopback addresses.
	Own []string
}

// Request checks an HTTP request: its peer, its Host, that nobody forwarded
// it, and the page that sent it.
func (l Loopback) Request(r *http.Request) error {
	if err := l.Peer(r.RemoteAddr); err != nil {
		return err
	}
	// A name of somebody else's that resolves to this machine is how a page
	// from elsewhere reaches a local server (DNS rebinding).
	if !l.own(r.Host) {
		return refusal(fmt.Sprintf("the host %.100q is none of this server's names; use localhost, or set public_url", r.Host))
	}
	return l.Page(r)
}

// Page checks that nobody forwarded a request, and the page that sent it. It
// leaves out the peer, for requests that are refused later and better: a page
// whose WebTransport session gets an HTTP status learns no reason.
func (l Loopback) Page(r *http.Request) error {
	for name := range r.Header {
		// A proxy on this machine makes the whole world look local.
		switch {
		case name == "Forwarded", name == "Via", name == "X-Real-Ip", strings.HasPrefix(name, "X-Forwarded-"):
			return refusal("a request that a proxy forwarded needs a stream key (sk) or a playback token (tok)")
		}
	}
	return l.origin(r.Header.Values("Origin"))
}

// Peer checks the address of whoever connected, host:port.
func (l Loopback) Peer(remote string) error {
	if !l.Enabled {
		return refusal("auth.loopback is off: show a stream key (sk) or a playback token (tok)")
	}
	if addr, err := netip.ParseAddrPort(remote); err != nil || !addr.Addr().Unmap().IsLoopback() {
		return refusal("only this machine may publish or play without a stream key (sk) or a playback token (tok)")
	}
	return nil
}

// origin checks the Origin headers (RFC 6454) of a request: none, this
// machine, or our own pages over HTTP or HTTPS.
func (l Loopback) origin(origins []string) error {
	for _, o := range origins {
		u, err := url.Parse(o)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || !l.own(u.Host) {
			return refusal(fmt.Sprintf("a page of %.100q may not publish or play here", o))
		}
	}
	return nil
}

// own reports whether host, with or without a port, is this machine.
func (l Loopback) own(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.Unmap().IsLoopback() {
		return true
	}
	return slices.ContainsFunc(l.Own, func(own string) bool { return strings.EqualFold(own, host) })
}

// The fields of an ad-hoc broadcast's namespace ahead of its name.
const (
	firstField = "stream"
	adHocOrg   = "local"
)

// Namespace returns the namespace of the ad-hoc broadcast name.
func Namespace(name string) []string { return []string{firstField, adHocOrg, name} }

// maxName bounds a broadcast's name in bytes.
const maxName = 128

// CheckName says whether name may be an ad-hoc broadcast's: letters, digits
// and - . _ ~ as in a URL (RFC 3986 section 2.3), not with a dot first.
func CheckName(name string) error {
	ok := name != "" && len(name) <= maxName && name[0] != '.'
	for _, c := range []byte(name) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~", c) >= 0:
		default:
			ok = false
		}
	}
	if !ok {
		return refusal(fmt.Sprintf("%.140q is no broadcast name: 1 to %d letters, digits and - . _ ~, not with a dot first", name, maxName))
	}
	return nil
}

// adHocName returns the name of an ad-hoc broadcast from its namespace, or a refusal.
func adHocName(namespace []string) (string, error) {
	if len(namespace) != 3 || namespace[0] != firstField || namespace[1] != adHocOrg {
		return "", refusal(fmt.Sprintf("only namespaces %s/%s/<name> are open to this machine", firstField, adHocOrg))
	}
	return namespace[2], CheckName(namespace[2])
}

// adHocPrefix checks what a peer may watch: the ad-hoc namespaces, or fewer fields.
func adHocPrefix(prefix []string) error {
	for i, want := range []string{firstField, adHocOrg} {
		if i < len(prefix) && prefix[i] != want {
			return refusal(fmt.Sprintf("only namespaces under %s/%s are open to this machine", firstField, adHocOrg))
		}
	}
	return nil
}
