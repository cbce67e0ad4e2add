package pull

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// maxRedirects is how often one request may be sent elsewhere.
const maxRedirects = 5

// errRedirect reports a redirect that is not followed. The request is not
// repeated.
var errRedirect = errors.New("the redirect is not followed")

// guarded returns client with our rules for redirects.
func (f *fetcher) guarded(client *http.Client) *http.Client {
	c := *client
	c.Jar = nil
	c.CheckRedirect = func(q *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects {
			return fmt.Errorf("%w: it is one of more than %d", errRedirect, maxRedirects)
		}
		last := via[len(via)-1]
		switch {
		case q.URL.Scheme != "http" && q.URL.Scheme != "https":
			return fmt.Errorf("%w: it leads away from HTTP", errRedirect)
		case last.URL.Scheme == "https" && q.URL.Scheme == "http":
			return fmt.Errorf("%w: it leads from https to http", errRedirect)
		}
		q.Header.Del("Referer") // its query may be a credential
		q.Header.Del("Authorization")
		for name := range f.headers {
			q.Header.Del(name)
		}
		f.dress(q)
		return nil
	}
	return &c
}

// dress gives a request the headers that are for its host: what the pull was
// given for authorisation goes to the host of its URL and nowhere else.
func (f *fetcher) dress(q *http.Request) {
	if f.from != nil && sameOrigin(q.URL, f.from) {
		for name, values := range f.headers {
			q.Header[name] = values
		}
	}
	q.Header.Set("User-Agent", f.agent)
}

func sameOrigin(a, b *url.URL) bool {
	return a.Scheme == b.Scheme && strings.EqualFold(a.Hostname(), b.Hostname()) && portOf(a) == portOf(b)
}

func portOf(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Port()
	case u.Scheme == "https":
		return "443"
	}
	return "80"
}

// checkHeaders says what is wrong with headers to send. It quotes no value.
func checkHeaders(h http.Header) error {
	for name, values := range h {
		switch http.CanonicalHeaderKey(name) {
		case "Accept-Encoding", "Connection", "Content-Length", "Host", "If-None-Match", "Range", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "User-Agent":
			return fmt.Errorf("the header %s is not yours to set", name)
		}
		if name == "" || strings.ContainsFunc(name, func(r rune) bool {
			return r <= ' ' || r >= 0x7f || strings.ContainsRune("()<>@,;:\\\"/[]?={}", r)
		}) {
			return errors.New("a header has a name that is none")
		}
		for _, v := range values {
			if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
				return fmt.Errorf("the header %s has a value with a control character", name)
			}
		}
	}
	return nil
}

// canonical returns h with the names as net/http keeps them.
func canonical(h http.Header) http.Header {
	out := make(http.Header, len(h))
	for name, values := range h {
		for _, v := range values {
			out.Add(name, v)
		}
	}
	return out
}
