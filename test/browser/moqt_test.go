package browser_test

import (
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/test/harness"
)

// A moqtSample is what pages/moqt-watch.js tells.
type moqtSample struct {
	Protocol string
	Catalog  struct {
		Version string
		Tracks  []string
	}
	Objects       map[string]int // by role
	Errors        []string
	Time          float64 // of the video, seconds
	Frames        int     // decoded
	Width, Height int
	Picture       uint32 // a sum over the picture
}

// testMoqtWatch plays what ffmpeg pushes on the stock @moqt core.
func testMoqtWatch(t *testing.T, d *harness.Daemon, b *harness.Browser, site *url.URL) {
	p := b.Open(t, moqtPage(t, d, site, "moqt-watch.html", "name", "stream/local/cam"), harness.View{})
	p.WaitFor("sample().errors.length > 0 || sample().time > 0 && sample().frames > 0", 10*time.Second)
	var first, last moqtSample
	p.Eval("sample()", &first)
	const seconds = 6
	pictures := map[uint32]bool{first.Picture: true}
	for range seconds {
		last = moqtSample{} // JSON would merge into what is there
		p.Eval("new Promise(done => setTimeout(() => done(sample()), 1000))", &last)
		pictures[last.Picture] = true
	}
	p.Screenshot("moqt-watch.png")
	if moved := last.Time - first.Time; moved < 5 {
		t.Errorf("the video moved %.2f s in %d s, want 5 or more", moved, seconds)
	}
	if len(pictures) < seconds {
		t.Errorf("%d different pictures in %d samples", len(pictures), seconds+1)
	}
	if last.Width != 640 || last.Height != 360 {
		t.Errorf("picture %dx%d, want 640x360", last.Width, last.Height)
	}
	if last.Protocol != "moqt-18" || last.Catalog.Version != "draft-01" {
		t.Errorf("protocol %q and catalog version %q, want moqt-18 and draft-01", last.Protocol, last.Catalog.Version)
	}
	if n := last.Objects; n["video"] < 10*seconds || n["audio"] < seconds {
		t.Errorf("%v objects in %d s", n, seconds)
	}
	if len(last.Errors) > 0 {
		t.Errorf("errors: %q", last.Errors)
	}
	t.Logf("@moqt played: %+v", last)
}

// testMoqtPublish lets the stock @moqt core publish a file's CMAF. What is
// recorded of it is the file's bytes to the last frame, and our page plays it.
func testMoqtPublish(t *testing.T, d *harness.Daemon, b *harness.Browser, site *url.URL) {
	const name = "stream/local/page"
	files := movie(t, 7*time.Second)
	served := serve(t, http.FileServer(http.Dir(files)))
	publisher := b.Open(t, moqtPage(t, d, site, "moqt-publish.html", "name", name,
		"video", served.JoinPath("video.mp4").String(), "audio", served.JoinPath("audio.mp4").String()), harness.View{})
	publisher.WaitFor("sample().announced || sample().refused || sample().errors.length > 0", 10*time.Second)
	recorded := filepath.Join(t.TempDir(), "page.mp4")
	record := harness.StartProc(t, "broadcastd record", exec.Command(harness.Build(t), "record",
		"--relay", "https://"+d.MoQ, "--cert-sha256", d.CertHash(t), "--namespace", name, "--output", recorded))
	publisher.WaitFor(`["catalog", "video", "audio"].every(t => sample().subscribed.includes(t))`, 10*time.Second)
	publisher.Eval("start()", nil)
	began := time.Now()

	d.WaitLive(t, name, 5*time.Second)
	viewer := b.Open(t, "http://"+d.HTTP+"/watch/page", harness.View{})
	playPage(t, viewer, 3)
	viewer.Screenshot("moqt-publish.png")

	publisher.WaitFor("sample().done || sample().errors.length > 0", 20*time.Second)
	if err := record.Wait(10 * time.Second); err != nil {
		t.Errorf("record: %v", err)
	}
	t.Logf("published and recorded within %.1f s", time.Since(began).Seconds())
	var s struct {
		Subscribed []string
		Refused    string
		Sent       map[string]int
		Errors     []string
	}
	publisher.Eval("sample()", &s)
	t.Logf("@moqt sent %v objects; subscriptions to %q", s.Sent, s.Subscribed)
	if s.Refused != "" || len(s.Errors) > 0 {
		t.Errorf("refused %q, errors %q", s.Refused, s.Errors)
	}
	slices.Sort(s.Subscribed)
	if want := []string{"audio", "catalog", "video"}; !slices.Equal(s.Subscribed, want) {
		t.Errorf("the relay subscribed to %q, want %q: each once, whatever the viewers", s.Subscribed, want)
	}
	if got, want := streamHash(t, recorded), streamHash(t, filepath.Join(files, "movie.mp4")); got != want {
		t.Errorf("recorded\n%s\nwant\n%s", got, want)
	}
	viewer.WaitFor(`/has ended|is not live/.test(document.getElementById("notice").textContent)`, 10*time.Second)
}

// moqtPage is the address of a page on the @moqt core.
func moqtPage(t *testing.T, d *harness.Daemon, site *url.URL, path string, query ...string) string {
	return page(site, path, append(query, "url", "https://"+d.MoQ+"/", "hash", d.CertHash(t))...)
}

// movie makes movie.mp4 and, with the same packets, video.mp4 and audio.mp4,
// and returns their folder.
func movie(t *testing.T, length time.Duration) string {
	t.Helper()
	dir := t.TempDir()
	whole := filepath.Join(dir, "movie.mp4")
	picture := harness.TestPicture{Duration: length, Fast: true, Size: "320x180"}
	if err := harness.FFmpeg(t, append(append(picture.Args(), harness.FMP4()...), whole)...).Wait(30 * time.Second); err != nil {
		t.Fatalf("ffmpeg: %v", err)
	}
	args := []string{"-i", whole}
	for _, kind := range []string{"video", "audio"} {
		args = append(append(args, "-map", "0:"+kind[:1], "-c", "copy"), append(harness.FMP4(), filepath.Join(dir, kind+".mp4"))...)
	}
	if err := harness.FFmpeg(t, args...).Wait(10 * time.Second); err != nil {
		t.Fatalf("ffmpeg: %v", err)
	}
	return dir
}

var hashLine = regexp.MustCompile(`(?m)^\d+,([va]),MD5=(\w+)$`)

// streamHash returns a line with the hash of all packets for each kind of stream.
func streamHash(t *testing.T, file string) string {
	t.Helper()
	cmd := exec.Command(harness.Tool(t, "ffmpeg"), "-v", "error", "-i", file, "-c", "copy", "-f", "streamhash", "-hash", "md5", "-")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("streamhash of %s: %v", file, err)
	}
	var lines []string
	for _, m := range hashLine.FindAllStringSubmatch(string(out), -1) {
		lines = append(lines, m[1]+" "+m[2])
	}
	slices.Sort(lines)
	if len(lines) != 2 {
		t.Fatalf("streamhash of %s: %q, want video and audio", file, out)
	}
	return strings.Join(lines, "\n")
}
