package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

// askTimeout bounds what is asked of others: the keys of a token, the callback.
const askTimeout = 3 * time.Second

// An asker asks one URL of the settings. It follows no redirect and takes no
// proxy: what it sends, and what it believes, stays with that host.
type asker struct {
	client *http.Client
	life   context.Context // what is under way ends with it
	stop   context.CancelFunc
}

// newAsker makes an asker for a URL: https, or http on this machine alone.
func newAsker(key, text string, transport http.RoundTripper) (*asker, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil {
		return nil, fmt.Errorf("auth: %s is no URL without a user, such as https://keys.example/path", key)
	}
	local := u.Scheme == "http" && isLoopback(u.Hostname())
	if u.Scheme != "https" && !local {
		return nil, fmt.Errorf("auth: %s has to be an https URL, or http on this machine: secrets and keys go over it", key)
	}
	if transport == nil {
		transport = newTransport(local)
	}
	a := &asker{client: &http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	a.life, a.stop = context.WithCancel(context.Background())
	return a, nil
}

// isLoopback says whether a host name can mean this machine alone.
func isLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// newTransport makes a transport with bounds. A local one connects to this
// machine alone, whatever its name resolves to.
func newTransport(local bool) *http.Transport {
	dialer := &net.Dialer{Timeout: askTimeout}
	return &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			ap, err := netip.ParseAddrPort(conn.RemoteAddr().String())
			if local && (err != nil || !ap.Addr().Unmap().IsLoopback()) {
				conn.Close()
				return nil, errors.New("auth: http is for this machine alone")
			}
			return conn, nil
		},
		TLSHandshakeTimeout: askTimeout, ResponseHeaderTimeout: askTimeout, MaxResponseHeaderBytes: 16 << 10,
		ForceAttemptHTTP2: true, MaxIdleConns: 8, MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute,
	}
}

// An answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do sends a request and reads the answer, of at most limit bytes. It takes
// askTimeout at most.
func (a *asker) do(r *http.Request, limit int64) (answer, error) {
	ctx, cancel := context.WithTimeout(a.life, askTimeout)
	defer cancel()
	resp, err := a.client.Do(r.WithContext(ctx))
	if err != nil {
		return answer{}, plain(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return answer{}, plain(err)
	}
	if int64(len(body)) > limit {
		return answer{}, fmt.Errorf("the answer has more than %d bytes", limit)
	}
	return answer{resp.StatusCode, resp.Header, body}, nil
}

// plain takes the URL out of what net/http says: it may hold a secret.
func plain(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// end has what is under way end, and lets go of idle connections.
func (a *asker) end() {
	a.stop()
	a.client.CloseIdleConnections()
}
