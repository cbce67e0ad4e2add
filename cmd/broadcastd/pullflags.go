package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"github.com/broadcastd/broadcastd/hls/pull"
)

// pullFlags are the flags about what is pulled.
type pullFlags struct {
	renditions     pull.Selection
	headers, allow []string
}

func (f pullFlags) set() bool {
	return f.renditions != (pull.Selection{}) || len(f.headers)+len(f.allow) > 0
}

// pulling returns what the flags ask for. Faults quote no value of a header.
func (f pullFlags) pulling(url string) (pulling, error) {
	p := pulling{url: url, renditions: f.renditions, headers: make(http.Header), trusted: true, setting: "--pull-allow"}
	if !isHTTP(url) && (len(f.headers) > 0 || f.renditions != (pull.Selection{})) {
		return p, errors.New("--header and the choice of renditions are for HLS URLs")
	}
	for _, h := range f.headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return p, errors.New(`--header wants "Name: value"`)
		}
		p.headers.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	for _, a := range f.allow {
		prefix, err := netip.ParsePrefix(a)
		if addr, addrErr := netip.ParseAddr(a); err != nil && addrErr == nil {
			prefix, err = addr.Prefix(addr.BitLen())
		}
		if err != nil {
			return p, fmt.Errorf("--pull-allow is %q, want an address or a prefix such as 10.0.0.0/8", a)
		}
		p.allow = append(p.allow, prefix.Masked())
	}
	return p, nil
}
