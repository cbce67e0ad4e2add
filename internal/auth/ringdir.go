package auth

import (
	"fmt"
	"strings"
	"time"
)

// A Keyring is a Directory of key files, without live inputs.
var _ Directory = (*Keyring)(nil)

// SigningKey implements Directory.
func (k *Keyring) SigningKey(kid string) (SigningKeyInfo, bool) {
	key := k.lookup(kid)
	if key == nil || key.Kind != SigningKey {
		return SigningKeyInfo{}, false
	}
	return SigningKeyInfo{ID: key.ID, Alg: key.Algorithm, Public: key.public, Active: key.Active()}, true
}

// StreamKey implements Directory.
func (k *Keyring) StreamKey(id string) (StreamKeyInfo, bool) {
	key := k.lookup(id)
	if key == nil || key.Kind != StreamKey {
		return StreamKeyInfo{}, false
	}
	return StreamKeyInfo{ID: key.ID, Hash: key.Hash, Namespace: strings.Split(key.Stream, "/"), Active: key.Active()}, true
}

// VerifyStreamKey implements Directory.
func (k *Keyring) VerifyStreamKey(id, secret string) bool {
	key, _ := k.StreamKey(id)
	return VerifySecret(k.salt, secret, key.Hash)
}

// Input implements Directory.
func (*Keyring) Input(string) (Input, bool) { return Input{}, false }

// TokenRevoked implements Directory.
func (*Keyring) TokenRevoked(string) bool { return false }

// OnChange implements Directory.
func (k *Keyring) OnChange(f func(Change)) (stop func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.next++
	n := k.next
	k.told[n] = f
	return func() {
		k.mu.Lock()
		delete(k.told, n)
		k.mu.Unlock()
	}
}

// Sign makes a token that may play a namespace, such as stream/local/cam, until
// ttl from now. The newest signing key that counts signs, or the one that kid
// names.
func (k *Keyring) Sign(namespace, kid string, ttl time.Duration) (token string, key Key, err error) {
	signer := k.signer(kid)
	if signer == nil && kid != "" {
		return "", Key{}, fmt.Errorf("%w: %.40q, or it was revoked or cannot sign", ErrNoKey, kid)
	}
	if signer == nil {
		return "", Key{}, fmt.Errorf("%w that signs: make one with 'broadcastd key create'", ErrNoKey)
	}
	org := adHocOrg
	if fields := strings.Split(namespace, "/"); len(fields) == 3 {
		org = fields[1]
	}
	now := k.cfg.Now()
	token, _, err = SignToken(signer.private, signer.ID, signer.Algorithm, now, Claims{
		Subject: org, NS: []string{namespace}, Expires: now.Add(ttl).Unix(),
	})
	return token, *signer, err
}

func (k *Keyring) signer(kid string) *Key {
	k.mu.Lock()
	defer k.mu.Unlock()
	var best *Key
	for _, key := range k.keys {
		if key.Kind != SigningKey || !key.Active() || key.private == nil || kid != "" && key.ID != kid {
			continue
		}
		if best == nil || key.Created.After(best.Created) || key.Created.Equal(best.Created) && key.ID > best.ID {
			best = key
		}
	}
	return best
}
