// Package browser_test plays broadcasts in headless Chromium: our own page,
// and the stock players of the npm registry.
package browser_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/test/harness"
)

func TestMain(m *testing.M) {
	code := m.Run()
	harness.RemoveBinary()
	os.Exit(code)
}

// TestBrowser runs one after the other what plays in Chromium, on one daemon:
// two players at once would measure the machine.
func TestBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("plays in real time")
	}
	site := pages(t)
	b := harness.StartBrowser(t)
	t.Logf("Chromium %s", b.Version)
	d := harness.Start(t, harness.Options{Args: []string{"--demo"}})
	t.Logf("broadcastd was ready after %v", d.Ready)
	t.Run("our page", func(t *testing.T) { testOurPage(t, d, b) })
	t.Run("old browser", func(t *testing.T) { testOldBrowser(t, d, b) })
	t.Run("push", func(t *testing.T) {
		d.Push(t, "cam", harness.TestPicture{})
		d.WaitLive(t, "stream/local/cam", 10*time.Second)
		t.Run("moq-watch", func(t *testing.T) { testMoqWatch(t, d, b, site) })
		t.Run("moqt watch", func(t *testing.T) { testMoqtWatch(t, d, b, site) })
	})
	t.Run("moq-publish", func(t *testing.T) { testMoqPublish(t, d, b, site) })
	t.Run("moqt publish", func(t *testing.T) { testMoqtPublish(t, d, b, site) })
	t.Run("encoder returns", func(t *testing.T) { testEncoderReturns(t, d, b) })
	t.Run("server returns", func(t *testing.T) { testServerReturns(t, b) })
	t.Run("refused", func(t *testing.T) { testRefused(t, b, site) })
}

// pages serves the test pages, bundled with the stock players.
func pages(t *testing.T) *url.URL {
	t.Helper()
	dir := harness.BrowserDir(t)
	bundles.Do(func() {
		bundles.dir, bundles.err = os.MkdirTemp("", "broadcastd-pages-")
		if bundles.err != nil {
			return
		}
		cmd := exec.Command(harness.Tool(t, "node"), "bundle.mjs", bundles.dir)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			bundles.err = fmt.Errorf("node bundle.mjs: %w\n%s", err, out)
		}
	})
	if bundles.err != nil {
		t.Fatal(bundles.err)
	}
	t.Cleanup(func() { os.RemoveAll(bundles.dir) })
	files := http.FileServer(http.Dir(filepath.Join(dir, "pages")))
	scripts := http.FileServer(http.Dir(bundles.dir))
	return serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".js") {
			scripts.ServeHTTP(w, r)
		} else {
			files.ServeHTTP(w, r)
		}
	}))
}

// serve serves h on http://localhost, which browsers treat as a secure context,
// and lets the pages of every other server fetch from it.
func serve(t *testing.T, h http.Handler) *url.URL {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	u, err := url.Parse(strings.Replace(s.URL, "127.0.0.1", "localhost", 1))
	if err != nil {
		t.Fatal(err)
	}
	return u
}

var bundles struct {
	sync.Once
	dir string
	err error
}

// page returns the address of a test page with its query.
func page(site *url.URL, path string, query ...string) string {
	q := url.Values{}
	for i := 0; i < len(query); i += 2 {
		q.Set(query[i], query[i+1])
	}
	return site.JoinPath(path).String() + "?" + q.Encode()
}
