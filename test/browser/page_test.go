package browser_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/test/harness"
)

// pageStats is what our own page tells about its player.
type pageStats struct {
	State string
	Time  float64
	Stats struct {
		Delay         *float64
		BufferVideo   float64
		BufferAudio   float64
		Target        float64
		Rate          float64
		Stalls        int
		Gaps          int
		SkippedGroups int
		Dropped       int
		FPS           int
		Protocol      string
		FirstFrame    float64
		Width         int
		Height        int
	}
}

const readPage = `({state: broadcastd.state(), time: document.querySelector("video").currentTime, stats: broadcastd.stats()})`

// playPage watches our own page play for some seconds: the picture moves, and
// the delay that it shows is below 3 s most of the time.
func playPage(t *testing.T, p *harness.Page, seconds int) pageStats {
	t.Helper()
	p.WaitFor(`broadcastd.state() === "playing"`, 15*time.Second)
	var first, last pageStats
	p.Eval(readPage, &first)
	var delays []float64
	for range seconds {
		last = pageStats{}
		p.Eval("new Promise(done => setTimeout(() => done("+readPage+"), 1000))", &last)
		if d := last.Stats.Delay; d != nil {
			delays = append(delays, *d)
		}
	}
	slices.Sort(delays)
	q := last.Stats
	t.Logf("delays %.3f s; first picture after %.0f ms; %dx%d at %d fps, rate %.2f, buffer %.2f and %.2f s, target %.2f s; %d stalls, %d gaps, %d groups skipped, %d frames dropped",
		delays, q.FirstFrame, q.Width, q.Height, q.FPS, q.Rate, q.BufferVideo, q.BufferAudio, q.Target, q.Stalls, q.Gaps, q.SkippedGroups, q.Dropped)
	if len(delays) < seconds {
		t.Fatalf("%d of %d times a delay was shown", len(delays), seconds)
	}
	if m := delays[len(delays)/2]; m <= 0 || m >= 3 {
		t.Errorf("median delay %.3f s, want above 0 and below 3", m)
	}
	if moved := last.Time - first.Time; moved < float64(seconds)*0.7 {
		t.Errorf("the video moved %.2f s in %d s", moved, seconds)
	}
	if last.Stats.Protocol != "moqt-18" {
		t.Errorf("protocol = %q, want moqt-18", last.Stats.Protocol)
	}
	return last
}

// testOurPage plays the demo on `/` and on /watch/demo.
func testOurPage(t *testing.T, d *harness.Daemon, b *harness.Browser) {
	d.WaitLive(t, "stream/local/demo", 10*time.Second)
	p := b.Open(t, "http://"+d.HTTP+"/", harness.View{})
	s := playPage(t, p, 6)
	p.Screenshot("page.png")
	if s.Stats.Width == 0 || s.Stats.FPS == 0 {
		t.Errorf("picture %dx%d at %d fps, want some", s.Stats.Width, s.Stats.Height, s.Stats.FPS)
	}
	var rows []string
	p.Eval(`[...document.querySelectorAll("#list button")].map(b => b.innerText)`, &rows)
	if !slices.ContainsFunc(rows, func(r string) bool { return strings.Contains(r, "local/demo") && strings.Contains(r, "LIVE") }) {
		t.Errorf("the list shows %q, want local/demo live", rows)
	}
	var delay string
	p.Eval(`document.getElementById("delay").innerText`, &delay)
	if !regexp.MustCompile(`^[0-2]\.\d\d s behind$`).MatchString(delay) {
		t.Errorf("the read-out says %q, want 0 to 3 s behind", delay)
	}
	for _, line := range p.Console() {
		if strings.HasPrefix(line, "error:") || strings.HasPrefix(line, "uncaught:") {
			t.Errorf("console: %s", line)
		}
	}
	p.Close()

	w := b.Open(t, "http://"+d.HTTP+"/watch/demo", harness.View{Width: 390, Height: 844, ColorScheme: "dark"})
	playPage(t, w, 1)
	testControls(t, w)
	w.Click("#details")
	w.Screenshot("page-watch-phone.png")
}

// testOldBrowser opens our page in a browser that lacks what it needs.
func testOldBrowser(t *testing.T, d *harness.Daemon, b *harness.Browser) {
	for _, tt := range []struct{ without, want string }{
		{"WebTransport", "This browser has no WebTransport"},
		{"MediaSource", "This browser has no Media Source Extensions"},
	} {
		p := b.Open(t, "http://"+d.HTTP+"/", harness.View{Without: []string{tt.without}})
		p.WaitFor(`document.querySelector("#list button") !== null`, 5*time.Second)
		var notice string
		p.Eval(`document.getElementById("notice").innerText`, &notice)
		if !strings.HasPrefix(notice, tt.want) {
			t.Errorf("without %s the page says %q, want %q", tt.without, notice, tt.want)
		}
		p.Close()
	}
}

// testControls presses the buttons that change how it plays.
func testControls(t *testing.T, p *harness.Page) {
	video := func(property string) (v bool) {
		p.Eval(`document.querySelector("video").`+property, &v)
		return v
	}
	if !video("muted") {
		t.Error("it starts with sound, which browsers forbid")
	}
	p.Click("#mute")
	if video("muted") {
		t.Error("still muted after a click on the sound's button")
	}
	p.Click("#play")
	p.WaitFor(`document.querySelector("video").paused`, 2*time.Second)
	p.Eval("new Promise(done => setTimeout(done, 1000))", nil)
	p.Click("#play")
	p.WaitFor(`!document.querySelector("video").paused && broadcastd.stats().bufferVideo < 1`, 2*time.Second)
	p.Click("#live")
	p.WaitFor(`document.getElementById("live").classList.contains("on")`, 3*time.Second)
}

// testEncoderReturns kills an encoder and starts it again within the grace: the
// page plays on in the same session, and its time only rises.
func testEncoderReturns(t *testing.T, d *harness.Daemon, b *harness.Browser) {
	encoder := d.Push(t, "back", harness.TestPicture{})
	d.WaitLive(t, "stream/local/back", 10*time.Second)
	p := b.Open(t, "http://"+d.HTTP+"/watch/back", harness.View{})
	before := playPage(t, p, 2)
	p.Eval(`window.left = false; new MutationObserver(() => {
		const s = document.documentElement.dataset.state;
		if (s !== "playing" && s !== "buffering") left = s;
	}).observe(document.documentElement, {attributes: true})`, nil)
	encoder.Kill()
	p.WaitFor(`broadcastd.state() === "buffering"`, 5*time.Second)
	d.Push(t, "back", harness.TestPicture{})
	after := playPage(t, p, 3)
	if after.Time <= before.Time {
		t.Errorf("the video's time went from %.3f to %.3f", before.Time, after.Time)
	}
	var left any
	p.Eval("window.left", &left)
	if left != false {
		t.Errorf("the player was %v in between, want only playing and buffering", left)
	}
}

// testServerReturns stops the server under a viewer and starts it again: the
// page says what happened, waits, and plays on by itself.
func testServerReturns(t *testing.T, b *harness.Browser) {
	o := harness.Options{Args: []string{"--demo"}, StateDir: t.TempDir(), Env: map[string]string{}}
	for _, key := range []string{"BROADCASTD_HTTP__LISTEN", "BROADCASTD_MOQ__LISTEN", "BROADCASTD_ADMIN__LISTEN"} {
		o.Env[key] = fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	}
	d := harness.Start(t, o)
	p := b.Open(t, "http://"+d.HTTP+"/", harness.View{})
	playPage(t, p, 1)
	if took, err := d.Stop(); err != nil || took > 2*time.Second {
		t.Errorf("the server took %v to stop: %v", took, err)
	}
	p.WaitFor(`/Trying again/.test(document.getElementById("notice").textContent)`, 10*time.Second)
	var notice string
	p.Eval(`document.getElementById("notice").textContent`, &notice)
	t.Logf("the page says: %s", notice)
	p.Screenshot("page-server-gone.png")
	harness.Start(t, o)
	playPage(t, p, 1)
}
