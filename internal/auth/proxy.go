package auth

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// Proxies are the addresses of proxies that may speak for others
// (trusted_proxies).
type Proxies []netip.Prefix

// maxHops bounds how far back a chain of proxies is followed.
const maxHops = 16

// Handler has next see the address of the client where a trusted proxy hands a
// request on: this is the one place where forwarding headers count. The headers
// stay, so that the loopback rule knows of the proxy.
func (p Proxies) Handler(next http.Handler) http.Handler {
	if len(p) == 0 {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, err := netip.ParseAddrPort(r.RemoteAddr)
		if err == nil && p.trusts(peer.Addr()) {
			if client, encrypted := p.client(r, peer.Addr()); client != peer.Addr() || encrypted {
				r = r.WithContext(context.WithValue(r.Context(), encryptedKey{}, encrypted))
				r.RemoteAddr = netip.AddrPortFrom(client, 0).String()
			}
		}
		next.ServeHTTP(w, r)
	})
}

func (p Proxies) trusts(a netip.Addr) bool {
	return slices.ContainsFunc(p, func(n netip.Prefix) bool { return n.Contains(a.Unmap()) })
}

// client returns for whom a request was forwarded: the last address in the chain
// that no trusted proxy has. Forwarded (RFC 7239) goes before X-Forwarded-For.
func (p Proxies) client(r *http.Request, peer netip.Addr) (client netip.Addr, encrypted bool) {
	hops, proto := forwarded(r.Header.Values("Forwarded"))
	if len(hops) == 0 {
		hops, proto = split(r.Header.Values("X-Forwarded-For")), r.Header.Get("X-Forwarded-Proto")
	}
	client = peer
	for i := range slices.Backward(hops) {
		a, ok := hopAddr(hops[i])
		if !ok || len(hops)-i > maxHops {
			break // hidden or made up: the proxy before it is as far as we know
		}
		client = a
		if !p.trusts(a) {
			break
		}
	}
	return client, strings.EqualFold(proto, "https")
}

// forwarded returns the for parameters of Forwarded headers, and the proto of
// the last hop.
func forwarded(values []string) (hops []string, proto string) {
	for _, element := range split(values) {
		hop := ""
		proto = ""
		for pair := range strings.SplitSeq(element, ";") {
			name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
			switch value = strings.Trim(value, `"`); strings.ToLower(name) {
			case "for":
				hop = value
			case "proto":
				proto = value
			}
		}
		hops = append(hops, hop)
	}
	return hops, proto
}

// split returns the elements of list headers (RFC 9110 section 5.6.1).
func split(values []string) (out []string) {
	for _, v := range values {
		for e := range strings.SplitSeq(v, ",") {
			if e = strings.TrimSpace(e); e != "" {
				out = append(out, e)
			}
		}
	}
	return out
}

// hopAddr reads an address with or without a port.
func hopAddr(s string) (netip.Addr, bool) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap(), true
	}
	a, err := netip.ParseAddr(strings.Trim(s, "[]"))
	return a.Unmap(), err == nil
}

// encryptedKey is where the context of a request says that its client spoke TLS.
type encryptedKey struct{}

// encrypted says whether a request came over TLS, to us or to a trusted proxy.
func encrypted(r *http.Request) bool {
	proxied, _ := r.Context().Value(encryptedKey{}).(bool)
	return r.TLS != nil || proxied
}

// remoteOf returns the address of whoever sent a request.
func remoteOf(r *http.Request) netip.AddrPort {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		a, _ := netip.ParseAddr(host)
		ap = netip.AddrPortFrom(a, 0)
	}
	return ap
}
