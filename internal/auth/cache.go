package auth

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"sync"
)

// maxCached bounds the tokens whose signatures are remembered.
const maxCached = 8192

// A tokenCache remembers tokens whose signatures are right. Whether they count
// is looked at each time.
type tokenCache struct {
	mu sync.Mutex
	// A full generation becomes the old one, and that is forgotten.
	young, old map[[sha256.Size]byte]*verified
}

func (c *tokenCache) get(token string) *verified {
	if len(token) > maxToken {
		return nil
	}
	sum := sha256.Sum256([]byte(token))
	c.mu.Lock()
	defer c.mu.Unlock()
	v := c.young[sum]
	if v == nil {
		if v = c.old[sum]; v != nil {
			c.store(sum, v)
		}
	}
	return v
}

func (c *tokenCache) put(token string, v *verified) {
	sum := sha256.Sum256([]byte(token))
	c.mu.Lock()
	c.store(sum, v)
	c.mu.Unlock()
}

// store keeps v. c.mu is held.
func (c *tokenCache) store(sum [sha256.Size]byte, v *verified) {
	if c.young == nil || len(c.young) >= maxCached/2 {
		c.young, c.old = make(map[[sha256.Size]byte]*verified), c.young
	}
	c.young[sum] = v
}

// samePublic says whether two public keys are the same.
func samePublic(a, b crypto.PublicKey) bool {
	if p, ok := a.(*rsa.PublicKey); ok { // as a rule it is the very same
		if q, ok := b.(*rsa.PublicKey); ok && p == q {
			return true
		}
	}
	x, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && x.Equal(b)
}
