package api

import (
	"time"

	"github.com/broadcastd/broadcastd/internal/control"
)

// AllowAddress takes one request to another surface of the site from what an
// address, host:port, may send, or says how long it is until it may: also where
// too many wrong keys have come from there. A client has one allowance for all
// surfaces.
func (h *Handler) AllowAddress(remote string) (wait time.Duration, ok bool) {
	address := clientAddress(remote)
	if wait, ok = h.addresses.take(address, 1); !ok {
		return wait, false
	}
	return h.failed.take(address, 0)
}

// WrongKey counts a key that an address showed elsewhere and that does not count.
func (h *Handler) WrongKey(remote string) { h.failed.take(clientAddress(remote), 1) }

// AllowKey takes n calls on another surface from what a key may send.
func (h *Handler) AllowKey(who control.Principal, n int) (wait time.Duration, ok bool) {
	return h.keys.take(clientOf(who), float64(n))
}
