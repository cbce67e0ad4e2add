package pull

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/test/harness"
)

func ffmpeg(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), harness.Tool(t, "ffmpeg"), append([]string{"-v", "error", "-nostdin"}, args...)...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("ffmpeg %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return string(out)
}

// pictures returns the hash of each decoded picture of a file, sound that of
// each audio frame as it is coded: what it decodes to depends on those before.
func pictures(t testing.TB, file string) []string {
	return hashes(ffmpeg(t, "", "-i", file, "-map", "0:v", "-fps_mode", "passthrough", "-f", "framemd5", "-"))
}

func sound(t testing.TB, file string) []string {
	return hashes(ffmpeg(t, "", "-i", file, "-map", "0:a", "-c", "copy", "-f", "framemd5", "-"))
}

func hashes(out string) (h []string) {
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "#") {
			h = append(h, strings.TrimSpace(strings.Split(line, ",")[5])) // side data may follow
		}
	}
	return h
}

// source makes a clip with B-frames, and its sound, in the folder dir.
func source(t testing.TB, dir, seconds string) string {
	t.Helper()
	path := filepath.Join(dir, "source.mp4")
	ffmpeg(t, dir, "-f", "lavfi", "-i", "testsrc2=size=160x96:rate=25", "-f", "lavfi", "-i", "sine=frequency=440:beep_factor=2:sample_rate=48000",
		"-t", seconds, "-c:v", "libx264", "-preset", "veryfast", "-threads", "1", "-bf", "2", "-g", "25", "-keyint_min", "25",
		"-sc_threshold", "0", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "64k", "-ac", "2", path)
	return path
}

// Trees of ffmpeg as VOD: what comes out is what went in, picture for picture,
// and as fast as it plays.
func TestVOD(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	src := source(t, dir, "6")
	for _, tt := range []struct{ name, args string }{
		{"fMP4", "-map 0 -c copy -f hls -hls_time 2 -hls_playlist_type vod -hls_segment_type fmp4 index.m3u8"},
		{"MPEG-TS", "-map 0 -c copy -f hls -hls_time 2 -hls_playlist_type vod -hls_segment_type mpegts index.m3u8"},
		{"fMP4 in one file", "-map 0 -c copy -f hls -hls_time 2 -hls_playlist_type vod -hls_segment_type fmp4 -hls_flags single_file index.m3u8"},
		{"MPEG-TS in one file", "-map 0 -c copy -f hls -hls_time 2 -hls_playlist_type vod -hls_flags single_file index.m3u8"},
		{"fMP4, audio apart", "-map 0:v -map 0:a -c copy -f hls -hls_time 2 -hls_playlist_type vod -hls_segment_type fmp4 " +
			"-master_pl_name index.m3u8 -hls_segment_filename %v-%d.m4s -hls_fmp4_init_filename init-%v.mp4 " +
			"-var_stream_map v:0,agroup:aud a:0,agroup:aud,default:yes,language:en %v.m3u8"},
		{"MPEG-TS, audio apart", "-map 0:v -map 0:a -c copy -f hls -hls_time 2 -hls_playlist_type vod " +
			"-master_pl_name index.m3u8 -hls_segment_filename %v-%d.ts -var_stream_map v:0,agroup:aud a:0,agroup:aud,default:yes %v.m3u8"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tree := t.TempDir()
			args := strings.Fields(tt.args)
			if i := slices.Index(args, "-var_stream_map"); i >= 0 { // its value has a space
				args = append(append(args[:i+1:i+1], args[i+1]+" "+args[i+2]), args[i+3:]...)
			}
			ffmpeg(t, tree, append([]string{"-i", src}, args...)...)
			o := folder(t, tree)
			c := &capture{}
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				if err := o.puller(t, "/index.m3u8", Config{}).Run(t.Context(), c); err != nil {
					t.Fatal(err)
				}
				if d := time.Since(began); d < 5900*time.Millisecond || d > 6500*time.Millisecond {
					t.Errorf("6 s of media took %v", d)
				}
			})
			if len(c.tracks) != 2 || c.track(t, "video").closed != 1 || c.track(t, "audio").closed != 1 {
				t.Errorf("%d tracks, want video and audio, each closed once: %q", len(c.tracks), c.log)
			}
			for _, tr := range c.tracks {
				for i, at := range tr.starts() {
					due := time.Duration((at - c.tracks[0].starts()[0]) * float64(time.Second))
					if late := tr.at[i] - due; late.Abs() > 200*time.Millisecond {
						t.Fatalf("%s chunk %d at media time %.3f came at %v", tr.name, i, at, tr.at[i])
					}
				}
			}
			dst := filepath.Join(tree, "out.mp4")
			c.write(t, dst)
			if got, want := pictures(t, dst), pictures(t, src); len(want) != 150 || !slices.Equal(got, want) {
				t.Errorf("%d pictures, want the same %d", len(got), len(want))
			}
			if got, want := sound(t, dst), sound(t, src); len(want) < 280 || !slices.Equal(got, want) {
				t.Errorf("%d audio frames, want the same %d", len(got), len(want))
			}
		})
	}
}

// A live tree that a running ffmpeg writes, with a sliding window: from where
// the pull began, every picture and every audio frame that was encoded comes
// out, and the end is clean.
func TestLive(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, segments string }{
		{"fMP4", "fmp4"},
		{"MPEG-TS", "mpegts"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir, tree := t.TempDir(), t.TempDir()
			all := filepath.Join(dir, "all.mkv") // what the encoder puts out
			encoder := harness.FFmpeg(t, append(harness.TestPicture{Duration: 6 * time.Second, BFrames: 2, Size: "160x96"}.Args(),
				"-map", "0:v", "-map", "1:a", "-flags", "+global_header", "-f", "tee",
				"[f=matroska]"+all+"|[f=hls:hls_time=1:hls_list_size=4:hls_flags=delete_segments+program_date_time+temp_file:"+
					"hls_delete_threshold=1:hls_segment_type="+tt.segments+"]"+filepath.Join(tree, "live.m3u8"))...)
			s := httptest.NewServer(http.FileServer(http.Dir(tree)))
			defer s.Close()
			waitFor(t, "a playlist that slid", func() bool {
				b, err := os.ReadFile(filepath.Join(tree, "live.m3u8"))
				return err == nil && bytes.Contains(b, []byte("#EXT-X-MEDIA-SEQUENCE:1\n"))
			})
			p, err := New(Config{URL: s.URL + "/live.m3u8", Client: s.Client()})
			if err != nil {
				t.Fatal(err)
			}
			c := &capture{}
			if err := p.Run(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if err := encoder.Wait(10 * time.Second); err != nil {
				t.Fatal(err)
			}
			if len(c.log) != 2 || len(c.anchors) == 0 {
				t.Errorf("log %q, %d anchors; want two tracks, no discontinuity and wall times", c.log, len(c.anchors))
			}
			dst := filepath.Join(dir, "out.mp4")
			c.write(t, dst)
			got, want := pictures(t, dst), pictures(t, all)
			if len(want) != 180 || len(got) < 90 || !slices.Equal(got, want[max(0, len(want)-len(got)):]) {
				t.Errorf("%d pictures, want the last of %d", len(got), len(want))
			}
			got, want = sound(t, dst), sound(t, all)
			if len(want) < 275 || len(got) < 135 || !slices.Equal(got, want[max(0, len(want)-len(got)):]) {
				t.Errorf("%d audio frames, want the last of %d", len(got), len(want))
			}
		})
	}
}

// waitFor waits until ok returns true, looking often, because a folder has no
// event to wait for.
func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for began := time.Now(); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Since(began) > 10*time.Second {
			t.Fatalf("waited for %s in vain", what)
		}
	}
}
