package pull

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/broadcastd/broadcastd/hls/playlist"
)

const (
	maxMap        = 4 << 20 // bytes of a media initialization section
	maxFirstAlloc = 4 << 20 // what a Content-Length alone may make us allocate

	backoffFirst = 250 * time.Millisecond
	backoffMost  = 5 * time.Second
)

// A RequestError says which request failed and how.
type RequestError struct {
	URL    string // without userinfo and query
	Status int    // of HTTP; 0: no answer came, or it was not what it should be
	Err    error  // nil with a Status that says it all

	after time.Duration // Retry-After; 0: not said
}

func (e *RequestError) Error() string {
	switch {
	case e.Err == nil:
		return fmt.Sprintf("hls: %s: %d %s", e.URL, e.Status, http.StatusText(e.Status))
	case e.Status == 0:
		return fmt.Sprintf("hls: %s: %v", e.URL, e.Err)
	}
	return fmt.Sprintf("hls: %s: %d %s: %v", e.URL, e.Status, http.StatusText(e.Status), e.Err)
}

func (e *RequestError) Unwrap() error { return e.Err }

// refused reports whether the server said that asking again is of no use.
func (e *RequestError) refused() bool {
	switch e.Status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	}
	return e.Status >= 400 && e.Status < 500
}

// errTooLarge reports a resource beyond its bound. It is not asked for again.
var errTooLarge = errors.New("is too large")

// redact returns u for people and logs: without userinfo, query and fragment.
func redact(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
}

// A fetcher sends requests. Several goroutines share it.
type fetcher struct {
	client   *http.Client
	agent    string
	from     *url.URL    // of the presentation
	headers  http.Header // go to the host of from alone
	retryFor time.Duration
	log      *slog.Logger
}

// A request is one resource that is wanted.
type request struct {
	url     *url.URL
	part    *playlist.Range // nil: all of it
	limit   int64           // bytes
	timeout time.Duration   // of one try
	// missing is how long a resource that the server refuses is asked for again:
	// what a live playlist lists may not be everywhere yet.
	missing time.Duration
	// encoding is what the server may use to send less. Empty: none.
	encoding string
}

// get fetches with repetitions. final is where redirects led.
func (f *fetcher) get(ctx context.Context, r request) (body []byte, final *url.URL, err error) {
	began := time.Now()
	for wait := backoffFirst; ; wait = min(2*wait, backoffMost) {
		body, final, err = f.once(ctx, r)
		if err == nil {
			return body, final, nil
		}
		e, ok := errors.AsType[*RequestError](err)
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		if !ok || isPermanent(err) {
			return nil, nil, err
		}
		patience := f.retryFor
		if e.refused() {
			patience = min(r.missing, patience)
		}
		pause := max(wait/2+rand.N(wait), min(e.after, f.retryFor))
		if time.Since(began)+pause > patience {
			return nil, nil, err
		}
		f.log.Debug("request failed", "err", err, "again_in", pause)
		if err := sleep(ctx, pause); err != nil {
			return nil, nil, err
		}
	}
}

// isPermanent reports whether another try would end in the same way.
func isPermanent(err error) bool {
	var p interface{ Permanent() bool } // of a Dial that refuses an address
	return errors.Is(err, errTooLarge) || errors.Is(err, errRedirect) || errors.As(err, &p) && p.Permanent()
}

// sleep waits for d or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// once fetches without repetition. Its errors are *RequestError but for a
// context that ended.
func (f *fetcher) once(ctx context.Context, r request) ([]byte, *url.URL, error) {
	fail := func(status int, err error) error { return &RequestError{URL: redact(r.url), Status: status, Err: err} }
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url.String(), nil)
	if err != nil {
		return nil, nil, fail(0, errors.New("cannot be asked for"))
	}
	f.dress(q)
	q.Header.Set("Accept-Encoding", cmp.Or(r.encoding, "identity"))
	if r.part != nil {
		q.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", r.part.Offset, r.part.End()-1))
	}
	resp, err := f.client.Do(q)
	if err != nil {
		return nil, nil, fail(0, plain(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK && (r.part == nil || resp.StatusCode != http.StatusPartialContent) {
		e := &RequestError{URL: redact(r.url), Status: resp.StatusCode}
		if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 && s < 3600 {
			e.after = time.Duration(s) * time.Second
		}
		_, _ = io.CopyN(io.Discard, resp.Body, 4<<10) // so that the connection can be used again
		return nil, nil, e
	}
	body, err := readBody(resp, r)
	if err != nil {
		return nil, nil, fail(resp.StatusCode, plain(err))
	}
	return body, resp.Request.URL, nil
}

// readBody reads the part that was asked for, whether the server sends it
// alone or all there is.
func readBody(resp *http.Response, r request) ([]byte, error) {
	want := int64(-1) // bytes; unknown
	if r.part != nil {
		want = r.part.Length
		if resp.StatusCode == http.StatusPartialContent {
			unit, rest, _ := strings.Cut(resp.Header.Get("Content-Range"), " ")
			first, _, _ := strings.Cut(rest, "-")
			if n, err := strconv.ParseInt(first, 10, 64); unit != "bytes" || err != nil || n != r.part.Offset {
				return nil, errors.New("the server sent another part than it was asked for")
			}
		} else if _, err := io.CopyN(io.Discard, resp.Body, r.part.Offset); err != nil {
			return nil, err
		}
	}
	if want > r.limit || want < 0 && resp.ContentLength > r.limit {
		return nil, fmt.Errorf("%w: it has %d bytes, at most %d are taken", errTooLarge, max(want, resp.ContentLength), r.limit)
	}
	var b bytes.Buffer
	b.Grow(int(min(max(want, resp.ContentLength, 0), maxFirstAlloc)) + bytes.MinRead)
	limit := r.limit + 1
	if want >= 0 {
		limit = want
	}
	plainBody, err := decoded(resp)
	if err != nil {
		return nil, err
	}
	n, err := b.ReadFrom(io.LimitReader(plainBody, limit))
	switch {
	case err != nil:
		return nil, err
	case want >= 0 && n < want:
		return nil, io.ErrUnexpectedEOF
	case n > r.limit:
		return nil, fmt.Errorf("%w: at most %d bytes are taken", errTooLarge, r.limit)
	}
	return b.Bytes(), nil
}

// decoded returns the body as it was before the server made it smaller. What
// comes out is bounded by who reads it, however small it was.
func decoded(resp *http.Response) (io.Reader, error) {
	switch e := resp.Header.Get("Content-Encoding"); e {
	case "", "identity":
		return resp.Body, nil
	case "gzip", "x-gzip":
		if resp.StatusCode == http.StatusPartialContent || resp.Request != nil && resp.Request.Header.Get("Range") != "" {
			return nil, errors.New("the server sent a part in the encoding gzip")
		}
		return gzip.NewReader(resp.Body)
	default:
		return nil, fmt.Errorf("the server sent the encoding %.16s that it was not asked for", e)
	}
}

// plain returns err without the URLs that net/http puts into its sentences.
func plain(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return errors.New("took too long")
	}
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return err
	}
	if isPermanent(err) {
		return err
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return err
	}
	if text := err.Error(); strings.ContainsAny(text, `"?`) || strings.Contains(text, "://") {
		return errors.New("the server's answer cannot be followed")
	}
	return err
}

// playlist fetches and parses a playlist. The first time nothing that the
// server refuses is asked for again.
func (f *fetcher) playlist(ctx context.Context, u *url.URL, timeout time.Duration, first bool) (playlist.Playlist, error) {
	r := request{url: u, limit: playlist.MaxSize, timeout: timeout, encoding: "gzip"}
	if !first {
		r.missing = f.retryFor
	}
	body, final, err := f.get(ctx, r)
	if err != nil {
		return playlist.Playlist{}, err
	}
	list, err := playlist.Parse(final, body)
	if err != nil {
		return list, &RequestError{URL: redact(u), Err: err}
	}
	return list, nil
}
