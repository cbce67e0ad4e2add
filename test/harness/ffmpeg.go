package harness

import (
	"fmt"
	"os/exec"
	"testing"
	"time"
)

// FFmpeg runs ffmpeg with the arguments, quiet but for warnings.
func FFmpeg(tb testing.TB, args ...string) *Proc {
	tb.Helper()
	quiet := []string{"-hide_banner", "-nostdin", "-nostats", "-loglevel", "warning"}
	return StartProc(tb, "ffmpeg", exec.Command(Tool(tb, "ffmpeg"), append(quiet, args...)...))
}

// A TestPicture is moving colours with a tone, as an encoder sends them:
// H.264 and AAC in fMP4. The zero value is 640x360 at 30 fps without B-frames,
// a key frame each second, in real time and without end.
type TestPicture struct {
	Duration time.Duration // zero: without end
	BFrames  int
	Fast     bool   // as fast as the machine encodes, not in real time
	Size     string // such as "640x360", which is what empty means
}

// Args returns the arguments that make the picture, up to the output.
func (p TestPicture) Args() []string {
	size := p.Size
	if size == "" {
		size = "640x360"
	}
	var a []string
	in := func(graph string) {
		if !p.Fast {
			a = append(a, "-re")
		}
		a = append(a, "-f", "lavfi", "-i", graph)
	}
	in("testsrc2=size=" + size + ":rate=30")
	in("sine=frequency=440:beep_factor=2:sample_rate=48000")
	if p.Duration > 0 {
		a = append(a, "-t", fmt.Sprint(p.Duration.Seconds()))
	}
	if p.BFrames == 0 {
		a = append(a, "-tune", "zerolatency")
	}
	return append(a,
		"-c:v", "libx264", "-preset", "veryfast", "-threads", "1", "-pix_fmt", "yuv420p", "-b:v", "800k",
		"-g", "30", "-keyint_min", "30", "-sc_threshold", "0", "-bf", fmt.Sprint(p.BFrames),
		"-c:a", "aac", "-b:a", "96k", "-ac", "2")
}

// FMP4 are ffmpeg's muxer arguments for the fMP4 that /ingest takes.
func FMP4() []string {
	return []string{"-f", "mp4", "-movflags", "+frag_keyframe+empty_moov+default_base_moof", "-frag_duration", "100000", "-flush_packets", "1"}
}

// Push sends the picture to the daemon's /ingest/<name> in one endless POST.
func (d *Daemon) Push(tb testing.TB, name string, p TestPicture) *Proc {
	tb.Helper()
	args := append(p.Args(), FMP4()...)
	args = append(args, "-method", "POST", "-send_expect_100", "1", "-chunked_post", "1",
		"http://"+d.HTTP+"/ingest/"+name)
	return FFmpeg(tb, args...)
}
