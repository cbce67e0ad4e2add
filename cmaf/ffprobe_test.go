package cmaf

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A probed is what ffprobe says of a stream.
type probed struct {
	Codec   string `json:"codec_name"`
	Tag     string `json:"codec_tag_string"`
	Profile string `json:"profile"`
	Level   int    `json:"level"`
	Width   int    `json:"width"`
	Height  int    `json:"height"`
	PixFmt  string `json:"pix_fmt"`
	Rate    string `json:"avg_frame_rate"`
	Samples string `json:"sample_rate"`
	Chans   int    `json:"channels"`
}

func ffprobe(t *testing.T, file string) probed {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ffprobe", "-v", "error", "-show_streams", "-of", "json", file).Output()
	if err != nil {
		t.Fatalf("ffprobe, which comes with ffmpeg: %v", err)
	}
	var doc struct{ Streams []probed }
	if err := json.Unmarshal(out, &doc); err != nil || len(doc.Streams) != 1 {
		t.Fatalf("ffprobe: %v\n%s", err, out)
	}
	return doc.Streams[0]
}

// depth returns the bits of a luma sample in a pixel format.
func (p probed) depth() int {
	for _, n := range []int{9, 10, 12} {
		if strings.HasSuffix(p.PixFmt, fmt.Sprint(n, "le")) {
			return n
		}
	}
	return 8
}

// codec returns the start of the codecs parameter, and what stands in it later.
// ffprobe names profiles; their numbers are those of the standards.
func (p probed) codec(t *testing.T) (prefix, part string) {
	t.Helper()
	number := map[string]int{
		"Constrained Baseline": 66, "Main": 77, "High": 100, "High 10": 110, "High 4:2:2": 122, "High 4:4:4 Predictive": 244,
	}
	switch p.Codec {
	case "hevc":
		number = map[string]int{"Main": 1, "Main 10": 2, "Rext": 4}
	case "av1":
		number = map[string]int{"Main": 0, "High": 1, "Professional": 2}
	}
	profile, ok := number[p.Profile]
	if !ok {
		t.Fatalf("profile %q is not in the table", p.Profile)
	}
	switch p.Codec {
	case "hevc":
		return fmt.Sprintf("%s.%d.", p.Tag, profile), fmt.Sprintf("%d.", p.Level) // behind the tier, which ffprobe does not tell
	case "av1":
		prefix = fmt.Sprintf("av01.%d.%02dM.%02d", profile, p.Level, p.depth())
		switch {
		case strings.HasPrefix(p.PixFmt, "gray"):
			return prefix, ".1.110."
		case strings.HasPrefix(p.PixFmt, "yuv444"), strings.HasPrefix(p.PixFmt, "gbr"):
			return prefix, ".0.000."
		case strings.HasPrefix(p.PixFmt, "yuv422"):
			return prefix, ".0.100."
		}
		return prefix, ""
	}
	return fmt.Sprintf("%s.%02x", p.Tag, profile), fmt.Sprintf("%02x", p.Level)
}

// What a header says of a picture is what ffprobe finds, over encoders, pixel
// formats, sizes and rates.
func TestHeadersFFprobe(t *testing.T) {
	const (
		x264   = "-c:v libx264 -preset ultrafast"
		x265   = "-c:v libx265 -preset ultrafast -x265-params log-level=error"
		aom    = "-c:v libaom-av1 -cpu-used 8 -usage realtime"
		frames = 3
	)
	for _, tt := range []struct{ source, args string }{
		{"s=1280x720:r=30000/1001", x264 + " -profile:v baseline -pix_fmt yuv420p"},
		{"s=322x182:r=50", x264 + " -pix_fmt yuv420p10le"},
		{"s=320x180:r=25", x264 + " -pix_fmt yuv422p10le"},
		{"s=1920x1080:r=60", x265 + " -pix_fmt yuv420p -tag:v hvc1"},
		{"s=322x182:r=24000/1001", x265 + ":level-idc=4.1 -pix_fmt yuv420p10le -tag:v hvc1"},
		{"s=320x180:r=50", x265 + ":hrd=1:vbv-maxrate=900:vbv-bufsize=900:sar=3:colorprim=bt2020:range=full:chromaloc=2:scaling-list=default -pix_fmt yuv422p10le"},
		{"s=162x92:r=25", x265 + " -pix_fmt yuv444p12le -tag:v hev1"},
		{"s=640x360:r=30", aom + " -pix_fmt yuv420p"},
		{"s=161x91:r=25", aom + " -pix_fmt yuv420p10le -color_range pc"},
		{"s=160x120:r=25", aom + " -pix_fmt yuv444p"},
		{"s=160x120:r=25", aom + " -pix_fmt yuv422p12le"},
		{"s=160x120:r=25", aom + " -pix_fmt gray"},
		{"s=320x180:r=60", "-c:v libsvtav1 -preset 12 -pix_fmt yuv420p10le -color_primaries bt2020 -color_trc arib-std-b67 -colorspace bt2020nc"},
	} {
		t.Run(tt.source+" "+tt.args, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "in.mp4")
			ffmpeg(t, slices.Concat([]string{"-f", "lavfi", "-i", "testsrc=" + tt.source, "-frames:v", fmt.Sprint(frames)},
				strings.Fields(tt.args), []string{"-movflags", "frag_keyframe+delay_moov+default_base_moof", file})...)
			in, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			b, err := demux(in, 0, DemuxerConfig{})
			if err != nil {
				t.Fatal(err)
			}
			h, want := b.track(t, "video").header, ffprobe(t, file)
			prefix, part := want.codec(t)
			if !strings.HasPrefix(h.Codec, prefix) || !strings.Contains(h.Codec, part) {
				t.Errorf("codec %s, ffprobe: %s…%s (%+v)", h.Codec, prefix, part, want)
			}
			var num, den float64
			if _, err := fmt.Sscanf(want.Rate, "%g/%g", &num, &den); err != nil {
				t.Fatal(err)
			}
			if h.Width != want.Width || h.Height != want.Height || h.BitDepth != want.depth() || h.FrameRate-num/den > 0.01 || num/den-h.FrameRate > 0.01 {
				t.Errorf("%dx%d, %d bits, %g pictures a second; ffprobe: %+v", h.Width, h.Height, h.BitDepth, h.FrameRate, want)
			}
		})
	}
}

// Rate and channels, as decoded.
func TestAudioHeadersFFprobe(t *testing.T) {
	for _, tt := range []struct{ name, want, args string }{
		{"AAC", "mp4a.40.2", "-c:a aac -ar 22050 -ac 1"},
		{"Opus from 24 kHz", "opus", "-c:a libopus -ar 24000 -ac 2"},
		{"Opus 5.1", "opus", "-c:a libopus -ac 6 -mapping_family 1"},
		{"FLAC 96 kHz, 24 bits", "fLaC", "-c:a flac -ar 96000 -ac 2 -sample_fmt s32"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "in.mp4")
			ffmpeg(t, slices.Concat([]string{"-f", "lavfi", "-i", "sine=sample_rate=48000", "-t", "0.2"},
				strings.Fields(tt.args), []string{"-strict", "-2", "-movflags", "empty_moov+default_base_moof+frag_keyframe", file})...)
			in, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			b, err := demux(in, 0, DemuxerConfig{})
			if err != nil {
				t.Fatal(err)
			}
			h, want := b.track(t, "audio").header, ffprobe(t, file)
			if h.Codec != tt.want || fmt.Sprint(h.SampleRate) != want.Samples || h.Channels != want.Chans {
				t.Errorf("%s, %d Hz, %d channels; want %s, ffprobe: %+v", h.Codec, h.SampleRate, h.Channels, tt.want, want)
			}
		})
	}
}
