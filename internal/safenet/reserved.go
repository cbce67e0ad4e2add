package safenet

import "net/netip"

// A block is a network that is not of the public Internet.
type block struct {
	prefix netip.Prefix
	reason string // continues "the address is"
}

// blocks are the special-purpose registries of IANA (RFC 6890) as far as nobody
// serves media from them, and the prefixes that lead to IPv4 by translation, in
// which any address may hide.
var blocks = []block{
	{netip.MustParsePrefix("0.0.0.0/8"), "of this network (RFC 791)"},
	{netip.MustParsePrefix("10.0.0.0/8"), "of a private network (RFC 1918)"},
	{netip.MustParsePrefix("100.64.0.0/10"), "of a provider's shared network (RFC 6598)"},
	{netip.MustParsePrefix("127.0.0.0/8"), "this machine's own (RFC 1122)"},
	{netip.MustParsePrefix("169.254.0.0/16"), "of this link, as those of cloud metadata are (RFC 3927)"},
	{netip.MustParsePrefix("172.16.0.0/12"), "of a private network (RFC 1918)"},
	{netip.MustParsePrefix("192.0.0.0/24"), "reserved for protocols (RFC 6890)"},
	{netip.MustParsePrefix("192.0.2.0/24"), "for documentation (RFC 5737)"},
	{netip.MustParsePrefix("192.88.99.0/24"), "of 6to4 relays (RFC 7526)"},
	{netip.MustParsePrefix("192.168.0.0/16"), "of a private network (RFC 1918)"},
	{netip.MustParsePrefix("198.18.0.0/15"), "for benchmarks (RFC 2544)"},
	{netip.MustParsePrefix("198.51.100.0/24"), "for documentation (RFC 5737)"},
	{netip.MustParsePrefix("203.0.113.0/24"), "for documentation (RFC 5737)"},
	{netip.MustParsePrefix("224.0.0.0/4"), "of multicast (RFC 5771)"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved (RFC 1112)"},

	{netip.MustParsePrefix("::1/128"), "this machine's own (RFC 4291)"},
	{netip.MustParsePrefix("::/96"), "of no host (RFC 4291)"},
	{netip.MustParsePrefix("64:ff9b::/96"), "of a translation to IPv4 (RFC 6052)"},
	{netip.MustParsePrefix("64:ff9b:1::/48"), "of a translation to IPv4 (RFC 8215)"},
	{netip.MustParsePrefix("100::/64"), "for discarding (RFC 6666)"},
	{netip.MustParsePrefix("2001::/32"), "of a Teredo tunnel (RFC 4380)"},
	{netip.MustParsePrefix("2001:db8::/32"), "for documentation (RFC 3849)"},
	{netip.MustParsePrefix("2002::/16"), "of a 6to4 tunnel (RFC 3056)"},
	{netip.MustParsePrefix("3fff::/20"), "for documentation (RFC 9637)"},
	{netip.MustParsePrefix("fc00::/7"), "of a private network (RFC 4193)"},
	{netip.MustParsePrefix("fe80::/10"), "of this link (RFC 4291)"},
	{netip.MustParsePrefix("fec0::/10"), "of a private network (RFC 3879)"},
	{netip.MustParsePrefix("ff00::/8"), "of multicast (RFC 4291)"},
}

// reserved says what an address is that is not of the public Internet, "" for
// one that is.
func reserved(a netip.Addr) string {
	if !a.IsValid() {
		return "none"
	}
	a = a.Unmap().WithZone("")
	for _, b := range blocks {
		if b.prefix.Contains(a) {
			return b.reason
		}
	}
	return ""
}
