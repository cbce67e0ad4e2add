package rtmp

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/bluenviron/gortmplib"
)

// serveOnce lets gortmplib be the server of one connection.
func serveOnce(t *testing.T, serve func(*gortmplib.ServerConn) error) (addr string, done <-chan error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	go func() {
		defer l.Close()
		nc, err := l.Accept()
		if err != nil {
			result <- err
			return
		}
		defer nc.Close()
		c := &gortmplib.ServerConn{RW: nc}
		if err := errors.Join(c.Initialize(), c.AcceptConn()); err != nil {
			result <- err
			return
		}
		result <- serve(c)
	}()
	return l.Addr().String(), result
}

func TestPull(t *testing.T) {
	var asked string
	addr, done := serveOnce(t, func(c *gortmplib.ServerConn) error {
		asked = c.URL.String()
		w := &gortmplib.Writer{Conn: c, Tracks: []*gortmplib.Track{aacTrack}}
		if err := w.Initialize(); err != nil {
			return err
		}
		for i := range 100 {
			if err := w.WriteMPEG4Audio(aacTrack, time.Duration(i)*1024*time.Second/48000, []byte{0x21, byte(i)}); err != nil {
				return err
			}
		}
		return nil
	})
	p, err := NewPuller(PullConfig{URL: "rtmp://" + addr + "/live/cam?key=value"})
	if err != nil {
		t.Fatal(err)
	}
	b := new(fakeBroadcast)
	if err := p.Run(t.Context(), b); err == nil || !strings.Contains(err.Error(), "closed the connection") {
		t.Errorf("Run: %v, want that the server closed", err)
	}
	if err := <-done; err != nil {
		t.Errorf("the server: %v", err)
	}
	if want := "rtmp://" + addr + "/live/cam?key=value"; asked != want {
		t.Errorf("asked for %s, want %s", asked, want)
	}
	want := "add audio mp4a.40.2\naudio 0+1024 1024+1024 2048+1024 "
	if got := b.String(); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, " 101376+1024\nclose audio") {
		t.Errorf("got %s", got)
	}
}

func TestPullRefused(t *testing.T) {
	addr, done := serveOnce(t, func(c *gortmplib.ServerConn) error { return c.RejectAction() })
	p, err := NewPuller(PullConfig{URL: "rtmp://" + addr + "/live/cam"})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(t.Context(), new(fakeBroadcast)); err == nil || !strings.Contains(err.Error(), "authentication failed") {
		t.Errorf("%v, want what the server said", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A server that says nothing is given up.
func TestPullIsBounded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p, err := NewPuller(PullConfig{URL: "rtmp://" + l.Addr().String() + "/live/cam", Handshake: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(t.Context(), new(fakeBroadcast)); err == nil || !strings.Contains(err.Error(), "did not begin") {
		t.Errorf("%v, want that it did not begin", err)
	}
}

func TestNewPuller(t *testing.T) {
	for _, url := range []string{"rtmp://host", "rtmp://host/app", "http://host/a/b", "rtmp://me:secret@host/a/b", "rtmp:///a/b", "rtmp://%zz/a/b"} {
		if _, err := NewPuller(PullConfig{URL: url}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", url, err)
		}
	}
	for url, want := range map[string]string{
		"rtmp://host/app/stream":           "host:1935 app stream",
		"rtmps://host/app/more/stream?k=v": "host:443 app/more stream?k=v",
		"rtmp://[::1]:99/live/a":           "[::1]:99 live a",
	} {
		p, err := NewPuller(PullConfig{URL: url})
		if err != nil || p.addr+" "+p.app+" "+p.stream != want {
			t.Errorf("%s: %+v, %v; want %s", url, p, err, want)
		}
	}
}
