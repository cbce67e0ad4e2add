package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// maxAnswer bounds what is read of one answer, in bytes.
	maxAnswer = 16 << 20
	// maxProblem bounds what is read of an answer that refuses.
	maxProblem = 64 << 10
)

// Config configures a Client.
type Config struct {
	// URL is where the API is, such as "https://live.example:8080", without
	// /api/v1.
	URL string
	// Key is an API key, or the admin key. Empty: none is shown.
	Key string
	// Org is the organisation of calls that name none. Empty: the server's own,
	// "local".
	Org string
	// HTTPClient makes the requests. Nil means one of its own.
	HTTPClient *http.Client
	// CertSHA256 pins the server's certificate: the SHA-256 of one of these must
	// match, and names and issuers are not looked at. Insecure accepts any, and is
	// only for tests by hand. Neither counts with an HTTPClient.
	CertSHA256 [][]byte
	Insecure   bool
	// Timeout bounds one attempt, but not a stream of events. Zero means 30 s.
	Timeout time.Duration
	// Retries is how often a call is repeated that may be. Zero means 4, below
	// zero never.
	Retries int
	// UserAgent is sent along. Empty means "broadcastd-go".
	UserAgent string
}

func (c Config) checked() (Config, *url.URL, error) {
	c.Timeout = cmp.Or(c.Timeout, 30*time.Second)
	c.Retries = max(cmp.Or(c.Retries, 4), 0)
	c.UserAgent = cmp.Or(c.UserAgent, "broadcastd-go")
	if c.HTTPClient == nil {
		c.HTTPClient = &http.Client{Transport: c.transport()}
	}
	var faults []error
	base, err := url.Parse(c.URL)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		faults = append(faults, errors.New("client: URL is not of the form http://host:port or https://host:port"))
	} else if base.User != nil || base.RawQuery != "" || base.Fragment != "" {
		faults = append(faults, errors.New("client: URL has a user, a query or a fragment, want none: the key goes into Key"))
	}
	if strings.ContainsFunc(c.Key, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		faults = append(faults, errors.New("client: Key has characters that no key has"))
	}
	if c.Timeout < 0 {
		faults = append(faults, fmt.Errorf("client: Timeout is %v, want more than 0", c.Timeout))
	}
	return c, base, errors.Join(faults...)
}

// transport returns how to reach the server: as everybody does, unless its
// certificate is a special one.
func (c Config) transport() http.RoundTripper {
	t, ok := http.DefaultTransport.(*http.Transport)
	if !c.Insecure && len(c.CertSHA256) == 0 || !ok {
		return http.DefaultTransport
	}
	t = t.Clone()
	t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // pinned below, or asked for
	if len(c.CertSHA256) > 0 {
		t.TLSClientConfig.VerifyConnection = func(s tls.ConnectionState) error {
			leaf := s.PeerCertificates[0]
			sum := sha256.Sum256(leaf.Raw)
			if !slices.ContainsFunc(c.CertSHA256, func(pin []byte) bool { return bytes.Equal(pin, sum[:]) }) {
				return fmt.Errorf("%w: it has another SHA-256", ErrUntrusted)
			}
			if now := time.Now(); now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
				return fmt.Errorf("%w: it is not valid now", ErrUntrusted)
			}
			return nil
		}
	}
	return t
}

// A Client calls the API of one server. It may be used by any number of
// goroutines, and holds none.
type Client struct {
	cfg  Config
	base *url.URL

	LiveInputs  LiveInputs
	SigningKeys SigningKeys
	APIKeys     APIKeys
	StreamKeys  StreamKeys
	Sessions    Sessions
	Broadcasts  Broadcasts
	Analytics   Analytics
	Events      Events
	Orgs        Orgs
}

// New returns a client. The error has every fault of cfg.
func New(cfg Config) (*Client, error) {
	cfg, base, err := cfg.checked()
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, base: base}
	c.LiveInputs, c.SigningKeys, c.APIKeys = LiveInputs{c}, SigningKeys{c}, APIKeys{c}
	c.StreamKeys, c.Sessions, c.Broadcasts = StreamKeys{c}, Sessions{c}, Broadcasts{c}
	c.Analytics, c.Events, c.Orgs = Analytics{c}, Events{c}, Orgs{c}
	return c, nil
}

// ErrNoServer reports that no daemon has left its address in a state directory.
var ErrNoServer = errors.New("client: no daemon runs on this state directory")

// FromStateDir returns cfg for the daemon that runs on a state directory of this
// machine: its URL and, unless cfg has a Key, its admin key. The error is
// ErrNoServer where none has left its address; a daemon that was killed may have
// left one that nobody answers at.
func FromStateDir(dir string, cfg Config) (Config, error) {
	text, err := os.ReadFile(filepath.Join(dir, "server.json"))
	if errors.Is(err, os.ErrNotExist) {
		return cfg, fmt.Errorf("%w: %s has no server.json", ErrNoServer, dir)
	} else if err != nil {
		return cfg, fmt.Errorf("client: %w", err)
	}
	var server struct {
		URL string `json:"url"`
	}
	if err := json.Unmarshal(text, &server); err != nil || server.URL == "" {
		return cfg, fmt.Errorf("%w: server.json in %s names no url", ErrNoServer, dir)
	}
	cfg.URL = server.URL
	if cfg.Key != "" {
		return cfg, nil
	}
	key, err := os.ReadFile(filepath.Join(dir, "admin.key"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return cfg, fmt.Errorf("client: %w", err)
	}
	cfg.Key = strings.TrimSpace(string(key))
	return cfg, nil
}

// A call is one call of the API.
type call struct {
	method, path string // below /api/v1, escaped
	query        url.Values
	body         any    // nil: none
	ifMatch      string // entity tag; empty: whatever there is
}

// repetition says when the call may be repeated.
func (k call) repetition() repetition {
	if k.ifMatch != "" {
		// What was done already would look as if somebody else had done it.
		return repeatRefused
	}
	return repeatAlways
}

// do makes a call and puts the answer's JSON into out, unless that is nil. etag
// is that of the answer.
func (c *Client) do(ctx context.Context, k call, out any) (etag string, err error) {
	var body []byte
	if k.body != nil {
		if body, err = json.Marshal(k.body); err != nil {
			return "", fmt.Errorf("client: %w", err)
		}
	}
	var idempotency string
	if k.method == http.MethodPost {
		idempotency = rand.Text()
	}
	rep, doubtful := k.repetition(), false
	for attempt := 0; ; attempt++ {
		etag, err = c.attempt(ctx, k, body, idempotency, out)
		if err == nil || ctx.Err() != nil {
			return etag, err
		}
		if k.method == http.MethodDelete && doubtful && errors.Is(err, ErrNotFound) {
			return "", nil // an attempt before did it, and its answer was lost
		}
		pause, ok := rep.again(err, attempt)
		if !ok || attempt >= c.cfg.Retries {
			return "", err
		}
		doubtful = doubtful || errors.Is(err, ErrUnreachable) || errors.Is(err, ErrServer)
		if cause := sleep(ctx, pause); cause != nil {
			return "", fmt.Errorf("%w; last: %w", cause, err)
		}
	}
}

// request makes the request for k.
func (c *Client) request(ctx context.Context, k call, body []byte) (*http.Request, error) {
	u := *c.base
	u.RawPath = ""
	full := strings.TrimSuffix(u.EscapedPath(), "/") + "/api/v1" + k.path
	path, err := url.PathUnescape(full)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	u.Path, u.RawPath, u.RawQuery = path, full, k.query.Encode()
	req, err := http.NewRequestWithContext(ctx, k.method, u.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	req.Header.Set("User-Agent", c.cfg.UserAgent)
	req.Header.Set("Accept", "application/json, application/problem+json")
	if k.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if k.ifMatch != "" {
		req.Header.Set("If-Match", k.ifMatch)
	}
	if c.cfg.Key != "" {
		req.Header.Set("Authorization", "Bearer "+c.cfg.Key)
	}
	return req, nil
}

func (c *Client) attempt(ctx context.Context, k call, body []byte, idempotency string, out any) (etag string, err error) {
	bounded, cancel := context.WithTimeoutCause(ctx, c.cfg.Timeout, fmt.Errorf("no answer within %v", c.cfg.Timeout))
	defer cancel()
	req, err := c.request(bounded, k, body)
	if err != nil {
		return "", err
	}
	if idempotency != "" {
		req.Header.Set("Idempotency-Key", idempotency)
	}
	res, err := c.cfg.HTTPClient.Do(req)
	if err != nil {
		return "", lost(ctx, bounded, k, err)
	}
	defer res.Body.Close()
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return "", refused(k, res)
	}
	text, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return "", lost(ctx, bounded, k, err)
	}
	if len(text) > maxAnswer {
		return "", fmt.Errorf("%w: %s: more than %d bytes", ErrResponse, k.name(), maxAnswer)
	}
	if out != nil {
		if err := json.Unmarshal(text, out); err != nil {
			return "", fmt.Errorf("%w: %s: %w", ErrResponse, k.name(), err)
		}
	}
	return res.Header.Get("ETag"), nil
}

func (k call) name() string { return k.method + " /api/v1" + k.path }

// refused reads an answer that refuses.
func refused(k call, res *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(res.Body, maxProblem))
	if err != nil {
		text = nil // the status says enough
	}
	return newError(k.name(), res.StatusCode, res.Header, text, time.Now())
}

// lost says why no answer came: the caller's doing, or the network's.
func lost(ctx, bounded context.Context, k call, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if bounded.Err() != nil {
		err = context.Cause(bounded)
	} else if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err // the URL is in the name of the call
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		err = fmt.Errorf("%w: %w", ErrUntrusted, err)
	}
	return fmt.Errorf("%w: %s: %w", ErrUnreachable, k.name(), err)
}

// org returns the organisation of a call that names one or not.
func (c *Client) org(name string) string { return cmp.Or(name, c.cfg.Org) }

// Version returns the version of the server, such as "0.1.0". It needs no key.
func (c *Client) Version(ctx context.Context) (string, error) {
	var v struct {
		Version string `json:"version"`
	}
	_, err := c.do(ctx, call{method: http.MethodGet, path: "/version"}, &v)
	return v.Version, err
}
