package mpegts

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/broadcastd/broadcastd/test/harness"
)

// frames returns the hash of each decoded picture or audio frame, with its
// presentation time relative to the first video frame where times is true.
func frames(t *testing.T, file, stream string) []string {
	t.Helper()
	args := []string{"-v", "error", "-nostdin", "-i", file, "-map", "0:" + stream, "-fps_mode", "passthrough", "-f", "framemd5", "-"}
	if stream == "a" {
		// One hash of all samples: where one frame ends is the container's affair.
		args = []string{"-v", "error", "-nostdin", "-i", file, "-map", "0:a", "-f", "md5", "-"}
	}
	out := run(t, harness.Tool(t, "ffmpeg"), args...)
	var hashes []string
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "#") {
			hashes = append(hashes, strings.TrimSpace(line[strings.LastIndexByte(line, ',')+1:]))
		}
	}
	return hashes
}

// Whatever ffmpeg's muxer makes of B-frames, GOPs and codecs' profiles, what
// comes out decodes to the same pictures and the same sound.
func TestFramesEqualFFmpeg(t *testing.T) {
	for _, tt := range []struct {
		name string
		args string
	}{
		{"B-frames", "-c:v libx264 -bf 3 -g 25 -c:a aac"},
		{"B-pyramid, open GOP, 29.97", "-r 30000/1001 -c:v libx264 -bf 3 -x264-params open-gop=1:b-pyramid=normal:scenecut=0 -g 30 -c:a aac -ar 44100"},
		{"no B-frames, every frame a key frame", "-c:v libx264 -g 1 -bf 0 -c:a aac -ac 2"},
		{"baseline", "-c:v libx264 -profile:v baseline -c:a aac"},
		{"10 bit", "-c:v libx264 -pix_fmt yuv420p10le -c:a aac"},
		{"interlaced", "-c:v libx264 -flags +ilme+ildct -bf 2 -c:a aac"},
		{"slices, one PES per packet of audio", "-c:v libx264 -slices 4 -c:a aac -pes_payload_size 0"},
		{"HEVC", "-c:v libx265 -x265-params log-level=error:bframes=3:keyint=25 -c:a aac"},
		{"HEVC of 10 bit, open GOP", "-c:v libx265 -pix_fmt yuv420p10le -x265-params log-level=error:open-gop=1:keyint=25 -c:a aac"},
		{"video alone", "-an -c:v libx264"},
		{"audio alone", "-vn -c:a aac"},
		{"two audio streams", "-map 0:v -map 1:a -map 1:a -c:v libx264 -c:a aac -metadata:s:a:0 language=deu -metadata:s:a:1 language=fra"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			src, dst := filepath.Join(dir, "in.ts"), filepath.Join(dir, "out.mp4")
			args := append(strings.Fields("-v error -nostdin -f lavfi -i testsrc2=size=160x96:rate=25 -f lavfi -i sine=sample_rate=48000 -t 1 -preset ultrafast -threads 1"),
				strings.Fields(tt.args)...)
			if !strings.Contains(tt.args, "pix_fmt") {
				args = append(args, "-pix_fmt", "yuv420p")
			}
			run(t, harness.Tool(t, "ffmpeg"), append(args, "-f", "mpegts", src)...)
			in, err := os.ReadFile(src)
			if err != nil {
				t.Fatal(err)
			}
			c, stats, err := demux(in, 1316)
			if err != nil {
				t.Fatal(err)
			}
			if stats.Skipped+stats.Gaps+stats.Dropped > 0 {
				t.Errorf("stats %+v, want nothing left out", stats)
			}
			if err := os.WriteFile(dst, c.file(t), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, tr := range c.tracks {
				stream := string(tr.header.Kind[:1])
				if strings.HasSuffix(tr.name, "2") {
					continue // the same sound
				}
				got, want := frames(t, dst, stream), frames(t, src, stream)
				if len(want) == 0 || !slices.Equal(got, want) {
					t.Errorf("%s: %d hashes, want the same %d", tr.name, len(got), len(want))
				}
			}
		})
	}
}
