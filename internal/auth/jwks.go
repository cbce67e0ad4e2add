package auth

import (
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"

	"github.com/MicahParks/jwkset"
)

// readJWKS reads public signing keys from a JWKS file (RFC 7517), by kid. Keys
// of other kinds are left out.
func readJWKS(path string) (map[string]*Key, error) {
	if path == "" {
		return nil, nil
	}
	text, err := readBounded(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("auth: auth.jwks names %s, which does not exist", path)
	}
	if err != nil {
		return nil, fmt.Errorf("auth: read auth.jwks: %w", err)
	}
	var set jwkset.JWKSMarshal
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("auth: %s is no JWKS", path)
	}
	keys := make(map[string]*Key, len(set.Keys))
	for i, m := range set.Keys {
		jwk, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
		if err != nil {
			return nil, fmt.Errorf("auth: %s: key %d cannot be read", path, i)
		}
		key := &Key{ID: m.KID, Kind: SigningKey, public: jwk.Key()}
		switch key.public.(type) {
		case ed25519.PublicKey:
			key.Algorithm = Ed25519
		case *rsa.PublicKey:
			key.Algorithm = RS256
		default:
			continue
		}
		if key.ID != "" {
			keys[key.ID] = key
		}
	}
	return keys, nil
}
