package browser_test

import (
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
	Width      int     `json:"width"`
	Height     int     `json:"height"`
	Picture    uint32  `json:"picture"` // a sum over the picture
}

// watch plays a page of the stock player for some seconds and checks in each
// of them that frames were drawn, time went on and the picture changed.
func watch(t *testing.T, p *harness.Page, seconds int, screenshot string) watchSample {
	t.Helper()
	p.WaitFor("sample().drawn > 0", 10*time.Second)
	var last watchSample
	p.Eval("sample()", &last)
	pictures := map[uint32]bool{last.Picture: true}
	for i := range seconds {
		var s watchSample
		p.Eval("new Promise(done => setTimeout(() => done(sample()), 1000))", &s)
		// Ten a second out of thirty: the machine may be busy, the stream may not stop.
		if s.Drawn-last.Drawn < 10 {
			t.Errorf("second %d: %d frames drawn (decoded %d), want 10 or more", i+1, s.Drawn-last.Drawn, s.Decoded-last.Decoded)
		}
		if d := s.MediaMS - last.MediaMS; d < 300 || d > 3000 {
			t.Errorf("second %d: media time moved %.0f ms, want about 1000", i+1, d)
		}
		pictures[s.Picture] = true
		last = s
	}
	p.Screenshot(screenshot)
	if len(pictures) < seconds {
		t.Errorf("%d different pictures in %d samples: %v", len(pictures), seconds+1, pictures)
	}
	if last.Status != "connected" {
		t.Errorf("status = %q at the end, want connected", last.Status)
	}
	t.Logf("@moq/watch: %+v", last)
	return last
}
