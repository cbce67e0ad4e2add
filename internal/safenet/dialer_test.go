package safenet

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// A world answers look-ups and dials, and notes what was dialled.
type world struct {
	answers [][]string // of one look-up after another; the last stays
	dialled []string
	down    []string // addresses that do not answer
}

var errDown = errors.New("down")

func (w *world) dialer(d Dialer) Dialer {
	d.Lookup = func(context.Context, string) (addrs []netip.Addr, err error) {
		for _, a := range w.answers[0] {
			addrs = append(addrs, netip.MustParseAddr(a))
		}
		if len(w.answers) > 1 {
			w.answers = w.answers[1:]
		}
		return addrs, nil
	}
	d.Dial = func(_ context.Context, _, address string) (net.Conn, error) {
		w.dialled = append(w.dialled, address)
		if slices.Contains(w.down, address) {
			return nil, errDown
		}
		c, _ := net.Pipe()
		return c, nil
	}
	d.Own = func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("8.8.4.4")} }
	return d
}

func TestDial(t *testing.T) {
	allow := []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("127.0.0.0/8")}
	for _, tt := range []struct {
		name    string
		d       Dialer
		address string
		answers []string
		down    []string
		want    string // dialled
		err     string
	}{
		{name: "public", address: "a.example:443", answers: []string{"9.9.9.9"}, want: "9.9.9.9:443"},
		{name: "the first that answers", address: "a.example:80", answers: []string{"9.9.9.9", "2620:fe::fe"}, down: []string{"9.9.9.9:80"}, want: "9.9.9.9:80 [2620:fe::fe]:80"},
		{name: "none answers", address: "a.example:80", answers: []string{"9.9.9.9"}, down: []string{"9.9.9.9:80"}, want: "9.9.9.9:80", err: "down"},
		{name: "no addresses", address: "a.example:80", err: "has no addresses"},
		{name: "private", address: "a.example:80", answers: []string{"10.1.2.3"}, err: "a.example (10.1.2.3) may not be dialled: the address is of a private network (RFC 1918); to allow it add 10.1.2.3/32 to pull.allow"},
		{name: "one of two", address: "a.example:80", answers: []string{"9.9.9.9", "169.254.169.254"}, err: "cloud metadata"},
		{name: "allowed", d: Dialer{Allow: allow}, address: "a.example:80", answers: []string{"10.1.2.3"}, want: "10.1.2.3:80"},
		{name: "next to what is allowed", d: Dialer{Allow: allow}, address: "a.example:80", answers: []string{"10.2.2.3"}, err: "10.2.2.3/32 to pull.allow"},
		{name: "allowed in the clothes of IPv6", d: Dialer{Allow: allow}, address: "[::ffff:10.1.2.3]:80", want: "10.1.2.3:80"},
		{name: "loopback", address: "127.0.0.1:8080", err: "this machine's own"},
		{name: "loopback in the clothes of IPv6", address: "[::ffff:127.0.0.1]:8080", err: "this machine's own"},
		{name: "loopback by translation", address: "[64:ff9b::7f00:1]:8080", err: "translation"},
		{name: "a link's, with its zone", address: "[fe80::1%eth0]:8080", err: "of this link"},
		{name: "another name of this machine", address: "8.8.4.4:8080", err: "8.8.4.4 may not be dialled: the address is this machine's own"},
		{name: "a number with zeros", address: "0127.0.0.1:80", answers: []string{"127.0.0.1"}, err: "this machine's own"},
		{name: "trusted", d: Dialer{Trusted: "127.0.0.1:8080"}, address: "127.0.0.1:8080", want: "127.0.0.1:8080"},
		{name: "trusted by the name of all", d: Dialer{Trusted: "localhost:22"}, address: "localhost:22", answers: []string{"127.0.0.1"}, want: "127.0.0.1:22"},
		{name: "another port than the trusted", d: Dialer{Trusted: "127.0.0.1:8080"}, address: "127.0.0.1:9090", err: "this machine's own"},
		{name: "a trusted name is a name", d: Dialer{Trusted: "a.example:80"}, address: "a.example:80", answers: []string{"127.0.0.1"}, err: "this machine's own"},
		{name: "another setting", d: Dialer{Setting: "--allow"}, address: "127.0.0.1:80", err: "add 127.0.0.1/32 to --allow"},
		{name: "a mail server", address: "9.9.9.9:25", err: "port 25 of 9.9.9.9"},
		{name: "no port", address: "9.9.9.9:http", err: "the port is none"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := &world{answers: [][]string{tt.answers}, down: tt.down}
			_, err := w.dialer(tt.d).DialContext(t.Context(), "tcp", tt.address)
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("DialContext = %v; want %q", err, tt.err)
			}
			if got := strings.Join(w.dialled, " "); got != tt.want {
				t.Errorf("dialled %q, want %q", got, tt.want)
			}
		})
	}
}

// A name that is public when it is checked and private a moment later is
// looked up once for each connection, and what was checked is what is dialled.
func TestRebinding(t *testing.T) {
	w := &world{answers: [][]string{{"9.9.9.9"}, {"127.0.0.1"}}}
	d := w.dialer(Dialer{})
	if _, err := d.DialContext(t.Context(), "tcp", "a.example:80"); err != nil {
		t.Error(err)
	}
	_, err := d.DialContext(t.Context(), "tcp", "a.example:80")
	if e, ok := errors.AsType[*AddressError](err); !ok || e.Addr.String() != "127.0.0.1" || !e.Permanent() {
		t.Errorf("the second time: %v, want an AddressError for 127.0.0.1", err)
	}
	if !slices.Equal(w.dialled, []string{"9.9.9.9:80"}) {
		t.Errorf("dialled %q", w.dialled)
	}
}

// The system's dialer checks again when it connects.
func TestCheckAtConnect(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := netip.MustParseAddrPort(l.Addr().String()).Port()
	for _, trusted := range []bool{false, true} {
		c, err := Dialer{}.dialAny(t.Context(), "tcp", "a.example", port, []netip.Addr{netip.MustParseAddr("127.0.0.1")}, trusted)
		if _, refused := errors.AsType[*AddressError](err); refused == trusted || trusted && err != nil {
			t.Errorf("trusted %t: %v", trusted, err)
		}
		if c != nil {
			c.Close()
		}
	}
}

// Whatever a check passes is a global unicast address that the standard library
// does not know as private, and IPv4 says the same in its IPv6 clothes.
func TestRandomAddresses(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	d := Dialer{Own: func() []netip.Addr { return nil }}
	passed := 0
	for range 200_000 {
		var b [16]byte
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		a := netip.AddrFrom16(b)
		switch r.IntN(4) {
		case 0:
			a = netip.AddrFrom4([4]byte(b[:4]))
		case 1: // near the borders of a block
			p := blocks[r.IntN(len(blocks))].prefix
			if a = p.Addr(); r.IntN(2) == 0 {
				a = a.Prev()
			}
			if !a.IsValid() {
				continue
			}
		}
		err := d.Check("h", a)
		if a.Is4() {
			if mapped := d.Check("h", netip.AddrFrom16(a.As16())); (mapped == nil) != (err == nil) {
				t.Fatalf("%v: %v, and mapped: %v", a, err, mapped)
			}
		}
		inside := slices.ContainsFunc(blocks, func(k block) bool { return k.prefix.Contains(a.Unmap()) })
		if inside != (err != nil) {
			t.Fatalf("%v: %v, in a block: %t", a, err, inside)
		}
		if err != nil {
			continue
		}
		passed++
		if a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified() || !a.IsGlobalUnicast() {
			t.Fatalf("%v passes", a)
		}
	}
	if passed < 50_000 {
		t.Errorf("%d passed, which are too few", passed)
	}
}
