package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"strings"
)

// streamKeyPrefix opens a stream key: sk_live_<id>_<secret>.
const streamKeyPrefix = "sk_live_"

// maxStreamKey bounds a stream key in bytes.
const maxStreamKey = 256

// NewStreamKey makes a stream key: what an encoder shows, and the two parts of
// it, of which the secret has 200 random bits.
func NewStreamKey() (cleartext, id, secret string) {
	id, secret = randomText(10), randomText(25)
	return streamKeyPrefix + id + "_" + secret, id, secret
}

// ParseStreamKey returns the parts of a stream key, sk_live_<id>_<secret>: both
// of letters and digits.
func ParseStreamKey(cleartext string) (id, secret string, ok bool) {
	rest, ok := strings.CutPrefix(cleartext, streamKeyPrefix)
	if !ok || len(cleartext) > maxStreamKey {
		return "", "", false
	}
	id, secret, _ = strings.Cut(rest, "_")
	return id, secret, alphanumeric(id) && alphanumeric(secret)
}

func alphanumeric(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return s != ""
}

// HashSecret returns the keyed hash of the secret of a stream key, HMAC-SHA256
// in hexadecimal. pepper is kept apart from where the hashes are.
func HashSecret(pepper []byte, secret string) string {
	mac := hmac.New(sha256.New, pepper)
	mac.Write([]byte(secret))
	return hex.EncodeToString(mac.Sum(nil))
}

// noHash stands in for the hash of a key that is not known.
var noHash = strings.Repeat("0", 2*sha256.Size)

// VerifySecret says whether a secret is the one of a hash. It takes the same
// time whatever they are, also for an empty hash: that of no key.
func VerifySecret(pepper []byte, secret, hash string) bool {
	want := hash
	if len(hash) != len(noHash) {
		want = noHash
	}
	same := subtle.ConstantTimeCompare([]byte(HashSecret(pepper, secret)), []byte(want)) == 1
	return same && want == hash
}
