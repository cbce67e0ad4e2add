package browser_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/test/harness"
)

// A watchSample is what pages/watch.js reads from the stock player.
type watchSample struct {
	Status     string  `json:"status"`
	Version    string  `json:"version"`
	Drawn      int     `json:"drawn"`      // frames on the canvas
	Decoded    int     `json:"decoded"`    // frames out of the decoder
	AudioBytes int     `json:"audioBytes"` // payload received
	MediaMS    float64 `json:"mediaMs"`    // media time of the picture
	DelayMS    float64 `json:"delayMs"`    // the clock less that
	Width      int     `json:"width"`
	Height     int     `json:"height"`
	Picture    uint32  `json:"picture"` // a sum over the picture
}

// watch plays a page of the stock player for some seconds and checks that in
// each of them time went on and the picture changed, and that over all of them
// at least half of the frames were drawn: the machine may be busy with other
// tests, the stream may not stop.
func watch(t *testing.T, p *harness.Page, seconds int, screenshot string) watchSample {
	t.Helper()
	p.WaitFor("sample().drawn > 0", 10*time.Second)
	var first, last watchSample
	p.Eval("sample()", &first)
	last = first
	pictures := map[uint32]bool{first.Picture: true}
	for i := range seconds {
		var s watchSample
		p.Eval("new Promise(done => setTimeout(() => done(sample()), 1000))", &s)
		if s.Drawn == last.Drawn || s.MediaMS <= last.MediaMS {
			t.Errorf("second %d: %d frames drawn, %d decoded, media time moved %.0f ms, want all to advance",
				i+1, s.Drawn-last.Drawn, s.Decoded-last.Decoded, s.MediaMS-last.MediaMS)
		}
		pictures[s.Picture] = true
		last = s
	}
	p.Screenshot(screenshot)
	if n := last.Drawn - first.Drawn; n < seconds*10 {
		t.Errorf("%d frames drawn in %d s, want %d or more", n, seconds, seconds*10)
	}
	if moved := last.MediaMS - first.MediaMS; moved < float64(seconds)*700 || moved > float64(seconds)*1500 {
		t.Errorf("media time moved %.0f ms in %d s", moved, seconds)
	}
	if len(pictures) < seconds {
		t.Errorf("%d different pictures in %d samples", len(pictures), seconds+1)
	}
	if last.Status != "connected" {
		t.Errorf("status = %q at the end, want connected", last.Status)
	}
	t.Logf("@moq/watch drew %d frames in %d s: %+v", last.Drawn-first.Drawn, seconds, last)
	return last
}

// testMoqWatch plays what ffmpeg pushes in the stock player, over draft-18.
func testMoqWatch(t *testing.T, d *harness.Daemon, b *harness.Browser, site *url.URL) {
	p := b.Open(t, page(site, "watch.html", "url", "http://"+d.MoQ+"/", "name", "stream/local/cam", "format", "msf"), harness.View{Width: 640, Height: 416})
	s := watch(t, p, 10, "moq-watch.png")
	if s.Version != "moq-transport-18" {
		t.Errorf("version = %q, want moq-transport-18", s.Version)
	}
	if s.Width != 640 || s.Height != 360 {
		t.Errorf("picture %dx%d, want 640x360", s.Width, s.Height)
	}
	if s.AudioBytes == 0 {
		t.Error("no audio was received")
	}
	if s.DelayMS < 0 || s.DelayMS > 5000 {
		t.Errorf("delay = %.0f ms, want up to 5 s behind the encoder", s.DelayMS)
	}
}

// testMoqPublish lets the stock publisher send Chromium's test camera through
// our relay to the stock player. Their catalog and container are their own:
// the relay has to be blind to them.
func testMoqPublish(t *testing.T, d *harness.Daemon, b *harness.Browser, site *url.URL) {
	const name = "stream/local/camera"
	camera := b.Open(t, page(site, "publish.html", "url", "http://"+d.MoQ+"/", "name", name), harness.View{})
	camera.WaitFor(`(s => s.status === "connected" && s.video && s.audio)(sample())`, 10*time.Second)
	p := b.Open(t, page(site, "watch.html", "url", "http://"+d.MoQ+"/", "name", name, "format", "hang"), harness.View{})
	s := watch(t, p, 4, "moq-publish.png")
	if s.Version != "moq-transport-18" {
		t.Errorf("version = %q, want moq-transport-18", s.Version)
	}
}
