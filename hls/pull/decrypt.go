package pull

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/broadcastd/broadcastd/hls/playlist"
)

// maxKeys is how many keys of one rendition are kept, because a playlist that
// rotates them names the last few again.
const maxKeys = 8

// A heldKey is a key that was fetched.
type heldKey struct {
	uri string
	key []byte
}

// readable returns an error of ErrUnsupported for a segment that is encrypted
// in a way that cannot be read.
func readable(keys []playlist.Key) error {
	if len(keys) == 0 {
		return nil
	}
	k := keyOf(keys)
	switch {
	case k == nil:
		return fmt.Errorf("%w: it is encrypted with %.32s of the key format %.64q; what can be read is AES-128 with the key format identity",
			ErrUnsupported, keys[0].Method, orIdentity(keys[0].Format))
	case k.URI == nil || k.URI.Scheme != "http" && k.URI.Scheme != "https":
		return fmt.Errorf("%w: it is encrypted with AES-128, and the key has no URI of http or https", ErrUnsupported)
	}
	return nil
}

func orIdentity(format string) string {
	if format == "" {
		return "identity"
	}
	return format
}

// keyOf returns the key of several that can be used, nil if there is none.
func keyOf(keys []playlist.Key) *playlist.Key {
	for i := range keys {
		if k := &keys[i]; k.Method == "AES-128" && orIdentity(k.Format) == "identity" {
			return k
		}
	}
	return nil
}

// open decrypts a whole segment, or a media initialization section, in place
// (RFC 8216 section 5.2). Nothing is done without keys.
func (r *rendition) open(ctx context.Context, keys []playlist.Key, sequence uint64, body []byte) ([]byte, error) {
	if len(keys) == 0 {
		return body, nil
	}
	k := keyOf(keys)
	iv, err := ivOf(k.IV, sequence)
	if err != nil {
		return nil, err
	}
	key, err := r.key(ctx, k.URI)
	if err != nil {
		return nil, err
	}
	if len(body) == 0 || len(body)%aes.BlockSize != 0 {
		return nil, fmt.Errorf("has %d bytes, which is no multiple of the %d of AES", len(body), aes.BlockSize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, errors.New("has a key that AES does not take")
	}
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(body, body)
	pad := int(body[len(body)-1]) // PKCS7, RFC 5652 section 6.3
	if pad == 0 || pad > aes.BlockSize || !bytes.Equal(body[len(body)-pad:], bytes.Repeat([]byte{byte(pad)}, pad)) {
		return nil, errors.New("does not decrypt with the key and the IV that the playlist gives")
	}
	return body[:len(body)-pad], nil
}

// ivOf returns the initialization vector that the playlist gives, or the one
// that follows from the sequence number (RFC 8216 section 5.2).
func ivOf(text string, sequence uint64) ([]byte, error) {
	iv := make([]byte, aes.BlockSize)
	if text == "" {
		binary.BigEndian.PutUint64(iv[8:], sequence)
		return iv, nil
	}
	digits, ok := strings.CutPrefix(strings.ToLower(text), "0x")
	if !ok || len(digits) > 2*aes.BlockSize || digits == "" {
		return nil, errors.New("has an IV that is not of 128 bits")
	}
	digits = strings.Repeat("0", 2*aes.BlockSize-len(digits)) + digits // it is a number
	if _, err := hex.Decode(iv, []byte(digits)); err != nil {
		return nil, errors.New("has an IV that is not hexadecimal")
	}
	return iv, nil
}

// key returns the key at u, fetched like all else and kept for the segments to
// come.
func (r *rendition) key(ctx context.Context, u *url.URL) ([]byte, error) {
	for _, h := range r.keys {
		if h.uri == u.String() {
			return h.key, nil
		}
	}
	body, _, err := r.f.get(ctx, request{url: u, limit: 64 << 10, timeout: r.p.cfg.RequestTimeout, missing: r.p.cfg.RetryFor})
	if err == nil && len(body) != aes.BlockSize {
		err = &RequestError{URL: redact(u), Err: fmt.Errorf("has %d bytes, a key has %d", len(body), aes.BlockSize)}
	}
	if err != nil {
		return nil, err
	}
	if len(r.keys) == maxKeys {
		r.keys = r.keys[1:]
	}
	r.keys = append(r.keys, heldKey{u.String(), body})
	return body, nil
}
