package harness

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// A Browser is one headless Chromium, driven through test/browser/driver.mjs.
type Browser struct {
	Version string
	proc    *Proc
	in      io.WriteCloser

	mu     sync.Mutex
	lastID int
	waits  map[int]chan reply
	ended  error // once set, no answer will come
}

type reply struct {
	ID     int             `json:"id"`
	Result json.RawMessage `json:"result"`
	Error  string          `json:"error"`
}

// BrowserDir is the folder of the browser tests' npm project. The test is
// skipped (see the package comment) when its packages are not installed.
func BrowserDir(tb testing.TB) string {
	tb.Helper()
	return NodeModules(tb, filepath.Join("test", "browser"))
}

// StartBrowser starts Chromium with a profile of its own. It has a test camera
// and microphone, and may play without a click.
func StartBrowser(tb testing.TB) *Browser {
	tb.Helper()
	path := Tool(tb, "chromium", "chromium-browser", "google-chrome")
	cmd := exec.Command(Tool(tb, "node"), "driver.mjs")
	cmd.Dir = BrowserDir(tb)
	cmd.Env = append(os.Environ(), "CHROMIUM="+path)
	b := &Browser{waits: map[int]chan reply{}}
	var err error
	if b.in, err = cmd.StdinPipe(); err != nil {
		tb.Fatal(err)
	}
	out, w := io.Pipe()
	cmd.Stdout = w
	hello := b.expect(0)
	b.proc = StartProc(tb, "test/browser/driver.mjs", cmd)
	go func() {
		<-b.proc.Done()
		_ = w.Close()
	}()
	go b.read(out)
	tb.Cleanup(func() {
		b.in.Close() // the driver then closes Chromium
		select {
		case <-b.proc.Done():
		case <-time.After(stopWait):
			b.proc.Kill()
		}
	})
	if err := b.await(0, hello, 30*time.Second, &b.Version); err != nil {
		tb.Fatalf("Chromium did not start: %v", err)
	}
	return b
}

// read hands each answer to the call that waits for it.
func (b *Browser) read(out io.Reader) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var r reply
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			continue // not the driver's: a library's stray print
		}
		b.mu.Lock()
		w := b.waits[r.ID]
		delete(b.waits, r.ID)
		b.mu.Unlock()
		if w != nil {
			w <- r
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended = errors.New("the browser driver has ended")
	for id, w := range b.waits {
		close(w)
		delete(b.waits, id)
	}
}

func (b *Browser) expect(id int) chan reply {
	b.mu.Lock()
	defer b.mu.Unlock()
	w := make(chan reply, 1)
	if b.ended != nil {
		close(w)
	} else {
		b.waits[id] = w
	}
	return w
}

func (b *Browser) await(id int, w chan reply, limit time.Duration, result any) error {
	select {
	case r, ok := <-w:
		if !ok {
			return errors.New("the browser driver has ended")
		}
		if r.Error != "" {
			return errors.New(r.Error)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(r.Result, result)
	case <-time.After(limit):
		b.mu.Lock()
		delete(b.waits, id)
		b.mu.Unlock()
		return fmt.Errorf("no answer within %v", limit)
	}
}

// call runs one of the driver's calls.
func (b *Browser) call(name string, args map[string]any, limit time.Duration, result any) error {
	b.mu.Lock()
	b.lastID++
	id := b.lastID
	b.mu.Unlock()
	w := b.expect(id)
	line, err := json.Marshal(map[string]any{"id": id, "call": name, "args": args})
	if err != nil {
		return err
	}
	if _, err := b.in.Write(append(line, '\n')); err != nil {
		return err
	}
	return b.await(id, w, limit, result)
}

// A View says how Open shows a page. The zero value is 1100x800 and light.
type View struct {
	Width, Height int    // pixels
	ColorScheme   string // "dark", "light"
	// Without names properties of window that the page shall not find, such as
	// "WebTransport".
	Without []string
}

// A Page is one tab. Its console is shown when the test fails.
type Page struct {
	tb testing.TB
	b  *Browser
	id int
}

// Open opens url in a new tab, which is closed at the end of the test tb.
func (b *Browser) Open(tb testing.TB, url string, v View) *Page {
	tb.Helper()
	args := map[string]any{"url": url}
	if v.Width > 0 {
		args["width"], args["height"] = v.Width, v.Height
	}
	if v.ColorScheme != "" {
		args["colorScheme"] = v.ColorScheme
	}
	if len(v.Without) > 0 {
		args["without"] = v.Without
	}
	var answer struct{ Page, Status int }
	if err := b.call("open", args, 30*time.Second, &answer); err != nil {
		tb.Fatalf("open %s: %v", url, err)
	}
	if answer.Status != 200 {
		tb.Fatalf("open %s: status %d", url, answer.Status)
	}
	p := &Page{tb: tb, b: b, id: answer.Page}
	tb.Cleanup(func() {
		if tb.Failed() {
			tb.Logf("console of %s:", url)
			for _, line := range p.Console() {
				tb.Log("  " + line)
			}
		}
		p.Close()
	})
	return p
}

// Close closes the tab. A second Close does nothing.
func (p *Page) Close() {
	if p.id != 0 {
		// A failure means that Chromium has gone, and the tab with it.
		_ = p.b.call("close", map[string]any{"page": p.id}, 5*time.Second, nil)
		p.id = 0
	}
}

// Eval evaluates a JavaScript expression in the page, awaits it if it is a
// promise, and decodes its value into result, which may be nil.
func (p *Page) Eval(expression string, result any) {
	p.tb.Helper()
	args := map[string]any{"page": p.id, "expression": expression}
	if err := p.b.call("eval", args, 15*time.Second, result); err != nil {
		p.tb.Fatalf("%s: %v", expression, err)
	}
}

// WaitFor waits until the expression is truthy.
func (p *Page) WaitFor(expression string, limit time.Duration) {
	p.tb.Helper()
	args := map[string]any{"page": p.id, "expression": expression, "timeout": limit.Milliseconds()}
	if err := p.b.call("wait", args, limit+5*time.Second, nil); err != nil {
		p.tb.Fatalf("%s: %v", expression, err)
	}
}

// Click clicks the first element that the CSS selector names.
func (p *Page) Click(selector string) {
	p.tb.Helper()
	args := map[string]any{"page": p.id, "selector": selector, "timeout": 5000}
	if err := p.b.call("click", args, 10*time.Second, nil); err != nil {
		p.tb.Fatalf("click %s: %v", selector, err)
	}
}

// Screenshot writes what the tab shows to build/test/<name>, a PNG.
func (p *Page) Screenshot(name string) {
	p.tb.Helper()
	path := Artifact(p.tb, name)
	args := map[string]any{"page": p.id, "path": path}
	if err := p.b.call("screenshot", args, 15*time.Second, nil); err != nil {
		p.tb.Errorf("screenshot %s: %v", name, err)
	}
}

// Console returns the last lines of the page's console, with uncaught errors
// and failed requests.
func (p *Page) Console() []string {
	var lines []string
	if err := p.b.call("log", map[string]any{"page": p.id}, 5*time.Second, &lines); err != nil {
		return []string{"console: " + err.Error()}
	}
	return lines
}
