// Package safenet dials addresses that somebody else has named, such as those
// of a playlist, without being led into the networks around this machine.
package safenet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"
)

// A Dialer opens connections to public addresses. It looks a host up, checks
// every address of it, and dials those that it has checked, so that a name
// which changes between two look-ups gains nothing; one address that is not
// public refuses the host as a whole. The zero value is ready to use, by
// several goroutines.
type Dialer struct {
	// Allow are the networks that may be dialled though they are not public.
	Allow []netip.Prefix
	// Trusted is a host:port that may be dialled if its host is an address or
	// localhost: what an administrator wrote out. A name is checked as ever,
	// because others say where it leads. Empty: none.
	Trusted string
	// Setting is what the errors call Allow. Empty means "pull.allow".
	Setting string

	// Lookup returns all addresses of a host; nil is the system's resolver.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
	// Dial opens a connection to an address that was checked; nil is net.Dialer's,
	// which checks once more when it connects.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Own returns the addresses of this machine; nil asks the system.
	Own func() []netip.Addr
}

// An AddressError says that a host may not be dialled. Asking again is of no use.
type AddressError struct {
	Host    string
	Addr    netip.Addr // the zero Addr: the port is what may not be dialled
	Port    uint16
	Reason  string // what the address is
	Setting string // where it can be allowed
}

func (e *AddressError) Error() string {
	if !e.Addr.IsValid() {
		return fmt.Sprintf("port %d of %s may not be dialled: %s", e.Port, e.Host, e.Reason)
	}
	host := e.Host
	if host != e.Addr.String() {
		host += " (" + e.Addr.String() + ")"
	}
	return fmt.Sprintf("%s may not be dialled: the address is %s; to allow it add %v to %s",
		host, e.Reason, netip.PrefixFrom(e.Addr, e.Addr.BitLen()), e.Setting)
}

// Permanent reports that the next try will end the same way.
func (e *AddressError) Permanent() bool { return true }

const (
	maxAddresses = 16              // of a host that are tried
	perAddress   = 5 * time.Second // for one of several
)

// DialContext dials a host of the network tcp. Errors are *AddressError where
// the host is refused.
func (d Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	host, portText, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, errors.New("the port is none")
	}
	trusted := d.trusts(host, address)
	if !trusted && !usual(uint16(port)) {
		return nil, &AddressError{Host: host, Port: uint16(port), Reason: "it is of another service than media; 80, 443 and those from 1024 on are"}
	}
	addrs, err := d.resolve(ctx, host)
	if err != nil {
		return nil, err
	}
	for i, a := range addrs {
		addrs[i] = a.Unmap()
		if trusted {
			continue
		}
		if err := d.Check(host, a); err != nil {
			return nil, err
		}
	}
	return d.dialAny(ctx, network, host, uint16(port), addrs, trusted)
}

// trusts reports whether address is the one that Trusted writes out.
func (d Dialer) trusts(host, address string) bool {
	if d.Trusted == "" || address != d.Trusted {
		return false
	}
	_, err := netip.ParseAddr(host)
	return err == nil || host == "localhost"
}

// usual reports whether media is served at a port. Below 1024 lie the services
// that a request of HTTP could do harm to.
func usual(port uint16) bool { return port == 80 || port == 443 || port >= 1024 }

func (d Dialer) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	lookup := d.Lookup
	if lookup == nil {
		lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	addrs, err := lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	if len(addrs) == 0 {
		return nil, &net.DNSError{Err: "has no addresses", Name: host, IsNotFound: true}
	}
	return append([]netip.Addr(nil), addrs...), nil
}

// dialAny dials one address after another until one answers.
func (d Dialer) dialAny(ctx context.Context, network, host string, port uint16, addrs []netip.Addr, trusted bool) (net.Conn, error) {
	dial := d.Dial
	if dial == nil {
		dial = (&net.Dialer{Control: func(_, address string, _ syscall.RawConn) error {
			at, err := netip.ParseAddrPort(address)
			if err != nil || trusted {
				return err
			}
			return d.Check(host, at.Addr())
		}}).DialContext
	}
	var first error
	addrs = addrs[:min(len(addrs), maxAddresses)]
	for i, a := range addrs {
		try, cancel := ctx, context.CancelFunc(func() {})
		if i < len(addrs)-1 { // the last may take what is left
			try, cancel = context.WithTimeout(ctx, perAddress)
		}
		conn, err := dial(try, network, netip.AddrPortFrom(a, port).String())
		cancel()
		if err == nil {
			return conn, nil
		}
		if first == nil {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, first
}

// Check returns an *AddressError for an address of host that may not be
// dialled, nil for one that may.
func (d Dialer) Check(host string, a netip.Addr) error {
	a = a.Unmap()
	reason := reserved(a)
	if reason == "" {
		for _, own := range d.own() {
			if own.Unmap() == a {
				reason = "this machine's own"
			}
		}
	}
	if reason == "" {
		return nil
	}
	for _, p := range d.Allow {
		if p.Contains(a.WithZone("")) {
			return nil
		}
	}
	setting := d.Setting
	if setting == "" {
		setting = "pull.allow"
	}
	return &AddressError{Host: host, Addr: a, Reason: reason, Setting: setting}
}

// own returns the addresses of this machine.
func (d Dialer) own() []netip.Addr {
	if d.Own != nil {
		return d.Own()
	}
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil // what is not public is refused all the same
	}
	var own []netip.Addr
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			own = append(own, p.Addr())
		}
	}
	return own
}
