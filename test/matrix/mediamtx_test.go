package matrix_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/bench/mediamtx"
	"github.com/broadcastd/broadcastd/test/harness"
)

// mediaMTXRows have a MediaMTX between the encoder and us: it forwards to us,
// or we play from it. It begins with a key frame of its choice and writes
// parameter sets into the pictures, so that what counts is what they decode to.
func mediaMTXRows() []row {
	media := []clip{
		{video: "h264", audio: "aac", bframes: 2, length: 8 * time.Second},
		{video: "h264", audio: "aac", gop: 2 * time.Second, length: 12 * time.Second},
	}
	var list []row
	for _, c := range media {
		list = append(list,
			row{protocol: "RTMP (ffmpeg, forwarded by MediaMTX)", clip: c, send: forwarded, relayed: true},
			row{protocol: "RTMP pull (from MediaMTX)", clip: c, send: pulled, relayed: true})
	}
	return list
}

// startMediaMTX runs one that forwards what it gets, if it is told where to.
func (w *world) startMediaMTX(forward string) (mediamtx.Server, *harness.Proc) {
	w.Helper()
	binary, err := mediamtx.Build(w.Context(), func(text string) { w.Log(text) })
	if err != nil {
		w.Fatal(err)
	}
	s, err := mediamtx.Configure(w.dir)
	if err != nil {
		w.Fatal(err)
	}
	if forward != "" {
		b, err := os.ReadFile(s.Args[0])
		if err != nil {
			w.Fatal(err)
		}
		text := strings.TrimRight(string(b), "\n") + "\n    forward:\n    - dest: " + forward + "\n"
		if err := os.WriteFile(s.Args[0], []byte(text), 0o600); err != nil {
			w.Fatal(err)
		}
	}
	cmd := exec.Command(binary, s.Args...)
	cmd.Dir = w.dir
	p := harness.StartProc(w.T, "mediamtx", cmd)
	p.WaitLog(literal("[RTMP] started"), 10*time.Second)
	return s, p
}

// encode pushes the clip to a MediaMTX.
func (w *world) encode(s mediamtx.Server, name, file string) (push *harness.Proc, sent string) {
	w.Helper()
	sent = filepath.Join(w.dir, "sent.flv")
	return harness.FFmpeg(w.T, "-re", "-i", file, "-map", "0", "-c", "copy", "-f", "flv", "rtmp://"+s.RTMP+"/"+name,
		"-map", "0", "-c", "copy", "-f", "flv", sent), sent
}

func forwarded(w *world, name, file string) string {
	w.Helper()
	s, _ := w.startMediaMTX(fmt.Sprintf("'rtmp://%s/live#%s'", w.d.RTMP, name))
	push, sent := w.encode(s, name, file)
	if err := push.Wait(time.Minute); err != nil {
		w.Fatalf("ffmpeg: %v\n%s", err, push.Log())
	}
	return sent
}

func pulled(w *world, name, file string) string {
	w.Helper()
	s, server := w.startMediaMTX("")
	push, sent := w.encode(s, "live/"+name, file)
	server.WaitLog(literal("is publishing to path"), 15*time.Second)
	pull := w.command("publish", "--relay", "moqt://"+w.d.MoQ, "--cert-sha256", w.d.CertHash(w.T), "--namespace", "stream/local/"+name,
		"rtmp://"+s.RTMP+"/live/"+name)
	defer func() { <-pull.Done() }() // ends with what it plays
	if err := push.Wait(time.Minute); err != nil {
		w.Fatalf("ffmpeg: %v\n%s", err, push.Log())
	}
	return sent
}

// pictures returns the stream with what its packets decode to in place of them,
// in the order in which they are shown.
func pictures(t *testing.T, file string, s stream) stream {
	t.Helper()
	cmd := exec.Command(harness.Tool(t, "ffmpeg"), "-v", "error", "-i", file, "-map", fmt.Sprintf("0:%d", s.index), "-copyts", "-fps_mode", "passthrough", "-f", "framemd5", "-")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("framemd5 of %s: %v", file, err)
	}
	s.packets = nil
	base := 1.0
	for sc := bufio.NewScanner(strings.NewReader(string(out))); sc.Scan(); {
		line := sc.Text()
		if rest, ok := strings.CutPrefix(line, "#tb 0: "); ok {
			num, den, _ := strings.Cut(rest, "/")
			n, err1 := strconv.ParseFloat(num, 64)
			d, err2 := strconv.ParseFloat(den, 64)
			if err1 != nil || err2 != nil {
				t.Fatalf("framemd5: %q", line)
			}
			base = n / d
		}
		f := strings.Split(line, ",")
		if strings.HasPrefix(line, "#") || len(f) < 6 {
			continue
		}
		pts, err := strconv.ParseFloat(strings.TrimSpace(f[2]), 64)
		if err != nil {
			t.Fatalf("framemd5: %q", line)
		}
		s.packets = append(s.packets, packet{pts: time.Duration(pts * base * float64(time.Second)), hash: strings.TrimSpace(f[5])})
	}
	return s
}

// aligned cuts what was sent to what was recorded, which may have begun later
// and ended a little earlier.
func aligned(t *testing.T, got, want stream) stream {
	t.Helper()
	at := slices.IndexFunc(want.packets, func(p packet) bool { return p.hash == got.packets[0].hash })
	switch {
	case at < 0:
		t.Fatalf("%s: the first that was recorded was not sent", want.name())
	case at+len(got.packets) > len(want.packets):
		t.Fatalf("%s: %d were recorded from number %d of %d on", want.name(), len(got.packets), at, len(want.packets))
	case len(got.packets) < len(want.packets)/2:
		t.Fatalf("%s: %d of %d were recorded", want.name(), len(got.packets), len(want.packets))
	}
	want.packets = want.packets[at : at+len(got.packets)]
	return want
}
