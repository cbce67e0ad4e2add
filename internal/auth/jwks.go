package auth

import (
	"bytes"
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/MicahParks/jwkset"
)

// Bounds of a key set that others keep.
const (
	maxJWKS     = 1 << 20 // bytes
	maxJWKSKeys = 256
	// A set from a URL is fetched again when what its Cache-Control says is
	// over, within these bounds; a key that is taken out counts until then.
	minFresh     = time.Minute
	defaultFresh = 5 * time.Minute
	maxFresh     = 10 * time.Minute
	// maxStale is how long the keys count when nothing can be fetched.
	maxStale = 24 * time.Hour
	// A token of an unknown key has a URL fetched once in unknownURL, and a file
	// looked at once in unknownFile.
	unknownURL  = 5 * time.Second
	unknownFile = 10 * time.Millisecond
	// retryJWKS is when a fetch that failed is tried again, watchFile how often
	// a file is looked at.
	retryJWKS = 10 * time.Second
	watchFile = 500 * time.Millisecond
)

// A keySet holds the signing keys of a JWKS file or URL. Whoever needs a key
// that is not at hand waits for a fetch; that is one for all, and nobody else
// waits.
type keySet struct {
	source string
	ask    *asker // nil: source is a file
	now    func() time.Time
	log    *slog.Logger
	every  time.Duration // between fetches for unknown keys

	mu    sync.Mutex
	keys  map[string]SigningKeyInfo
	read  time.Time     // when keys were last known to be right
	asked time.Time     // when they were last asked for
	due   time.Time     // when to ask again
	stamp string        // of the file, or the ETag
	under chan struct{} // closed when the fetch under way is over; nil: none is
}

// newKeySet makes the set that the settings name. A file has to be readable.
func newKeySet(cfg Config) (*keySet, error) {
	s := &keySet{source: cfg.JWKS, now: cfg.Now, log: cfg.Log, every: unknownFile}
	if s.source == "" {
		return s, nil
	}
	if strings.Contains(s.source, "://") {
		var err error
		s.every = unknownURL
		s.ask, err = newAsker("auth.jwks", s.source, cfg.Transport)
		return s, err
	}
	err := s.fetch()
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("auth: auth.jwks names %s, which does not exist", s.source)
	}
	return s, err
}

// find returns the key kid. The error is errNotNow where it may be in what a
// fetch would bring.
func (s *keySet) find(kid string) (SigningKeyInfo, error) {
	unknown := refused(CodeUnknown, "the key of the token is not known")
	if s.source == "" {
		return SigningKeyInfo{}, unknown
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if k, ok := s.keys[kid]; ok && now.Sub(s.read) < maxStale {
		return k, nil
	}
	if s.under != nil || now.Sub(s.asked) >= s.every {
		return SigningKeyInfo{}, errNotNow
	}
	return SigningKeyInfo{}, unknown
}

// fetchFor fetches the keys, or waits for who does.
func (s *keySet) fetchFor() {
	s.mu.Lock()
	under := s.under
	if under == nil && s.now().Sub(s.asked) < s.every {
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	if under != nil {
		<-under
		return
	}
	if err := s.fetch(); err != nil {
		s.log.Debug("keys of auth.jwks not read", "err", err) // run complains
	}
}

// fetch reads the keys again, unless somebody does already: then it waits.
func (s *keySet) fetch() error {
	s.mu.Lock()
	if under := s.under; under != nil {
		s.mu.Unlock()
		<-under
		return nil
	}
	done := make(chan struct{})
	s.under, s.asked = done, s.now()
	stamp := s.stamp
	s.mu.Unlock()

	keys, stamp, fresh, err := s.load(stamp)

	s.mu.Lock()
	defer s.mu.Unlock()
	defer close(done)
	s.under = nil
	now := s.now()
	if err != nil {
		s.due = now.Add(retryJWKS)
		if s.ask == nil {
			s.due = now.Add(watchFile)
		}
		return err
	}
	if keys != nil {
		s.keys = keys
	}
	s.stamp, s.read, s.due = stamp, now, now.Add(fresh)
	return nil
}

// load reads the keys from where they are. They are nil if they have not
// changed since stamp.
func (s *keySet) load(stamp string) (keys map[string]SigningKeyInfo, next string, fresh time.Duration, err error) {
	if s.ask != nil {
		return s.get(stamp)
	}
	info, err := os.Stat(s.source)
	if err != nil {
		return nil, "", 0, fmt.Errorf("auth: read auth.jwks: %w", err)
	}
	if info.Size() > maxJWKS {
		return nil, "", 0, fmt.Errorf("auth: %s has %d bytes, at most %d are read", s.source, info.Size(), maxJWKS)
	}
	if next = fmt.Sprint(info.Size(), info.ModTime().UnixNano()); next == stamp {
		return nil, stamp, watchFile, nil
	}
	text, err := os.ReadFile(s.source)
	if err != nil {
		return nil, "", 0, fmt.Errorf("auth: read auth.jwks: %w", err)
	}
	if keys, err = parseJWKS(text); err != nil {
		err = fmt.Errorf("auth: %s: %w", s.source, err)
	}
	return keys, next, watchFile, err
}

// get fetches the keys over HTTP.
func (s *keySet) get(etag string) (keys map[string]SigningKeyInfo, next string, fresh time.Duration, err error) {
	r, err := http.NewRequest(http.MethodGet, s.source, nil)
	if err != nil {
		return nil, "", 0, errors.New("auth: auth.jwks is no URL")
	}
	r.Header.Set("Accept", "application/jwk-set+json, application/json")
	if etag != "" {
		r.Header.Set("If-None-Match", etag)
	}
	got, err := s.ask.do(r, maxJWKS)
	switch {
	case err != nil:
		return nil, "", 0, fmt.Errorf("auth: fetch auth.jwks: %w", err)
	case got.status == http.StatusNotModified && etag != "":
		return nil, etag, freshness(got.header), nil
	case got.status != http.StatusOK:
		return nil, "", 0, fmt.Errorf("auth: fetch auth.jwks: the answer is %d, want 200", got.status)
	}
	if keys, err = parseJWKS(got.body); err != nil {
		return nil, "", 0, fmt.Errorf("auth: auth.jwks: %w", err)
	}
	return keys, got.header.Get("ETag"), freshness(got.header), nil
}

// freshness returns how long an answer may be used (RFC 9111 section 5.2.2.1),
// within bounds.
func freshness(h http.Header) time.Duration {
	for _, d := range split(h.Values("Cache-Control")) {
		text, ok := strings.CutPrefix(strings.ToLower(d), "max-age=")
		if n, err := strconv.Atoi(text); ok && err == nil {
			return min(max(time.Duration(min(n, 1<<20))*time.Second, minFresh), maxFresh)
		}
	}
	return defaultFresh
}

// parseJWKS reads public keys (RFC 7517) by kid. Keys of other kinds and uses
// are left out; of two with one kid the first counts.
func parseJWKS(text []byte) (map[string]SigningKeyInfo, error) {
	var set jwkset.JWKSMarshal
	if err := json.Unmarshal(bytes.TrimSpace(text), &set); err != nil {
		return nil, errors.New("that is no JWKS")
	}
	if len(set.Keys) > maxJWKSKeys {
		return nil, fmt.Errorf("a JWKS of %d keys, at most %d are read", len(set.Keys), maxJWKSKeys)
	}
	keys := make(map[string]SigningKeyInfo, len(set.Keys))
	for _, m := range set.Keys {
		if k, ok := parseJWK(m); ok {
			if _, twice := keys[k.ID]; !twice {
				keys[k.ID] = k
			}
		}
	}
	return keys, nil
}

func parseJWK(m jwkset.JWKMarshal) (SigningKeyInfo, bool) {
	if !validKID(m.KID) || cmp.Or(m.USE, jwkset.UseSig) != jwkset.UseSig {
		return SigningKeyInfo{}, false
	}
	m.X5U, m.X5C = "", nil // what the set says of a key is all that counts
	jwk, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return SigningKeyInfo{}, false
	}
	k := SigningKeyInfo{ID: m.KID, Public: jwk.Key(), Active: true}
	switch k.Public.(type) {
	case ed25519.PublicKey:
		k.Alg = Ed25519
	case *rsa.PublicKey:
		k.Alg = RS256
	}
	alg := string(m.ALG)
	named := alg == "" || alg == k.Alg.header() || alg == string(k.Alg)
	return k, named && pin(k.Alg, k.Public) == nil
}

// run keeps the keys fresh until ctx ends. changed is called when others count.
func (s *keySet) run(ctx context.Context, changed func()) {
	if s.source == "" {
		return
	}
	if s.ask != nil {
		defer s.ask.end()
		defer context.AfterFunc(ctx, s.ask.stop)()
	}
	var last string // the last complaint
	for {
		s.mu.Lock()
		before, wait := s.keys, s.due.Sub(s.now())
		s.mu.Unlock()
		timer := time.NewTimer(max(wait, 0))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		err := s.fetch()
		if ctx.Err() != nil {
			return
		}
		if text := fmt.Sprint(err); err != nil && text != last {
			s.log.Error("keys of auth.jwks not read; those read before stay for a day", "err", err)
			last = text
		} else if err == nil {
			last = ""
		}
		s.mu.Lock()
		other := !maps.EqualFunc(before, s.keys, func(a, b SigningKeyInfo) bool { return samePublic(a.Public, b.Public) })
		s.mu.Unlock()
		if other {
			changed()
		}
	}
}
