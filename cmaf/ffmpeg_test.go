package cmaf

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

func ffmpeg(t *testing.T, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Fatal("this test needs ffmpeg in PATH; `make test` installs it, or: apt-get install ffmpeg")
	}
	cmd := exec.CommandContext(t.Context(), path, append([]string{"-v", "error", "-nostdin"}, args...)...)
	cmd.Env = append(os.Environ(), "SVT_LOG=1") // errors alone
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("ffmpeg %s: %v\n%s", strings.Join(args, " "), err, stderr.Bytes())
	}
	return out
}

// A frame is a line of framemd5, with times in seconds' fractions as ffmpeg
// writes them: ticks of the stream's time base.
type frame struct {
	dts, pts int64
	size     int
	hash     string
}

// framemd5 returns the packets of each stream in file, and the time bases.
func framemd5(t *testing.T, file string) (map[int][]frame, map[int]string) {
	t.Helper()
	out := ffmpeg(t, "-copyts", "-i", file, "-map", "0", "-c", "copy", "-f", "framemd5", "-")
	frames, bases := map[int][]frame{}, map[int]string{}
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		line := s.Text()
		if rest, ok := strings.CutPrefix(line, "#tb "); ok {
			stream, base, _ := strings.Cut(rest, ": ")
			n, _ := strconv.Atoi(stream)
			bases[n] = base
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(line, ",")
		n := func(i int) int64 {
			v, err := strconv.ParseInt(strings.TrimSpace(f[i]), 10, 64)
			if err != nil {
				t.Fatalf("line %q: %v", line, err)
			}
			return v
		}
		stream := int(n(0))
		frames[stream] = append(frames[stream], frame{n(1), n(2), int(n(4)), strings.TrimSpace(f[5])})
	}
	return frames, bases
}

// rewrite demuxes in and returns it as a file of one-sample chunks with all
// tracks moved by a whole number of seconds.
func rewrite(t *testing.T, in []byte, seconds int64) []byte {
	t.Helper()
	b, err := demux(in, 4096, DemuxerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	var headers []Header
	type piece struct {
		track int
		c     Chunk
		at    Time
	}
	var pieces []piece
	for i, tr := range b.tracks {
		headers = append(headers, tr.header)
		for _, c := range tr.chunks {
			c.DecodeTime += seconds * int64(tr.header.Timescale)
			pieces = append(pieces, piece{i, c, Time{c.DecodeTime, tr.header.Timescale}})
		}
	}
	slices.SortStableFunc(pieces, func(a, b piece) int { return a.at.Compare(b.at) })
	out, err := BuildInit(headers)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range pieces {
		out = p.c.AppendTo(out, uint32(p.track+1), uint32(i+1))
	}
	return out
}

// What ffmpeg reads from our file is what it reads from its own: the same
// frames, the same distances in time, all tracks in step.
func TestRoundTripFFmpeg(t *testing.T) {
	const (
		keyframe = "frag_keyframe+empty_moov+default_base_moof"
		delayed  = "frag_keyframe+delay_moov+default_base_moof"
		cmaf     = "cmaf+frag_keyframe+empty_moov"
		x264     = "-c:v libx264 -preset veryfast -g 30 -bf 3 -pix_fmt yuv420p"
		aac      = "-c:a aac -b:a 64k"
		x265     = "-c:v libx265 -preset ultrafast -x265-params log-level=error:keyint=30:bframes=3:b-pyramid=1"
		opus     = "-c:a libopus -b:a 32k -ar 48000"
	)
	for _, tt := range []struct{ name, codecs, flags string }{
		{"a fragment per group", x264 + " " + aac, keyframe},
		{"a fragment per frame", x264 + " " + aac, "frag_every_frame+empty_moov+default_base_moof"},
		{"negative offsets", x264 + " " + aac, cmaf},
		{"negative offsets and edit lists", x264 + " " + aac, "cmaf+frag_keyframe+delay_moov"},
		{"edit lists", x264 + " " + aac, delayed},
		{"base data offsets", x264 + " " + aac, "frag_keyframe+empty_moov"},
		{"no offsets", x264 + " " + aac, "frag_keyframe+empty_moov+omit_tfhd_offset"},
		{"DASH", x264 + " " + aac, "dash"},
		{"High 10, two audio tracks", "-map 0 -map 1 -map 1 -c:v libx264 -preset veryfast -bf 2 -g 30 -pix_fmt yuv420p10le -c:a:0 aac -c:a:1 libopus -ar:a:1 48000", keyframe},
		{"HEVC and Opus, edit lists", x265 + ":open-gop=1 -pix_fmt yuv420p -tag:v hvc1 " + opus, delayed},
		{"HEVC Main 10 and FLAC, negative offsets", x265 + ":open-gop=0 -pix_fmt yuv420p10le -tag:v hev1 -c:a flac -strict experimental", cmaf},
		{"AV1 and FLAC", "-c:v libsvtav1 -preset 12 -g 30 -pix_fmt yuv420p10le -c:a flac -strict experimental", keyframe},
		{"AV1 by libaom and Opus", "-c:v libaom-av1 -cpu-used 8 -usage realtime -g 30 -pix_fmt yuv420p " + opus, delayed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			before, after := filepath.Join(dir, "before.mp4"), filepath.Join(dir, "after.mp4")
			args := []string{"-f", "lavfi", "-i", "testsrc=size=160x120:rate=30000/1001", "-f", "lavfi", "-i", "sine=sample_rate=44100", "-t", "3"}
			ffmpeg(t, slices.Concat(args, strings.Fields(tt.codecs), []string{"-movflags", tt.flags, before})...)
			in, err := os.ReadFile(before)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(after, rewrite(t, in, 100), 0o600); err != nil {
				t.Fatal(err)
			}
			want, wantBases := framemd5(t, before)
			got, bases := framemd5(t, after)
			if len(want) < 2 || len(want[0]) < 80 || len(want[1]) < 25 {
				t.Fatalf("the source has %d video and %d audio frames", len(want[0]), len(want[1]))
			}
			if fmt.Sprint(bases) != fmt.Sprint(wantBases) {
				t.Fatalf("time bases %v, want %v", bases, wantBases)
			}
			for stream, w := range want {
				// The whole seconds that rewrite added, in the stream's ticks.
				ticks, err := strconv.ParseInt(strings.TrimPrefix(bases[stream], "1/"), 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				for i := range w {
					w[i].dts += 100 * ticks
					w[i].pts += 100 * ticks
				}
				if !slices.Equal(got[stream], w) {
					t.Errorf("stream %d: %d frames, want %d; first got %+v\nwant %+v", stream, len(got[stream]), len(w), got[stream][:2], w[:2])
					for i := range min(len(w), len(got[stream])) {
						if got[stream][i] != w[i] {
							t.Fatalf("stream %d frame %d: %+v, want %+v", stream, i, got[stream][i], w[i])
						}
					}
				}
			}
		})
	}
}

// Our files decode without a complaint, and to the same pictures and sounds.
func TestDecodeFFmpeg(t *testing.T) {
	decoded := func(file string) []string {
		var out []string
		for line := range strings.Lines(string(ffmpeg(t, "-i", file, "-map", "0", "-f", "framemd5", "-"))) {
			if f := strings.Split(line, ","); !strings.HasPrefix(line, "#") {
				out = append(out, f[0]+f[len(f)-1]) // stream and hash
			}
		}
		slices.Sort(out) // a file interleaves its tracks as it likes
		return out
	}
	for _, name := range []string{"keyframe.mp4", "hevc.mp4", "hevc10.mp4", "av1.mp4", "av110.mp4", "avc10.mp4", "opus.mp4", "flac.mp4", "tracks.mp4"} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "after.mp4")
			if err := os.WriteFile(file, rewrite(t, fixture(t, name), 1), 0o600); err != nil {
				t.Fatal(err)
			}
			got, want := decoded(file), decoded(filepath.Join("testdata", name))
			if len(want) == 0 || !slices.Equal(got, want) {
				t.Errorf("%d frames, want the same %d", len(got), len(want))
			}
		})
	}
}
