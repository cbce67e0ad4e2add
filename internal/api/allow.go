package api

import (
	"time"

	"github.com/broadcastd/broadcastd/internal/api/edge"
	"github.com/broadcastd/broadcastd/internal/control"
)

// AllowAddress takes one request to another surface of the site from what an
// address, host:port, may send, or says how long it is until it may: also where
// too many wrong keys have come from there. A client has one allowance for all
// surfaces.
func (h *Handler) AllowAddress(remote string) (wait time.Duration, ok bool) {
	address := edge.Address(remote)
	if wait, ok = h.addresses.Take(address, 1); !ok {
		return wait, false
	}
	return h.failed.Take(address, 0)
}

// WrongKey counts a key that an address showed elsewhere and that does not count.
func (h *Handler) WrongKey(remote string) { h.failed.Take(edge.Address(remote), 1) }

// AllowKey takes n calls on another surface from what a key may send.
func (h *Handler) AllowKey(who control.Principal, n int) (wait time.Duration, ok bool) {
	return h.keys.Take(clientOf(who), float64(n))
}
