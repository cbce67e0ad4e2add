package matrix_test

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/test/harness"
)

// A clip is a kind of media. Zero values leave out.
type clip struct {
	video, audio string // h264, hevc, av1, vp9; aac, opus, flac, ac3, eac3
	bframes      int
	gop          time.Duration // zero: 1 s
	length       time.Duration // zero: 4 s
	ladder       bool          // a second, smaller picture
}

func (c clip) String() string {
	var parts []string
	for _, p := range []string{c.video, c.audio} {
		if p != "" {
			parts = append(parts, p)
		}
	}
	s := strings.Join(parts, "+")
	if c.video == "" {
		return s
	}
	if c.ladder {
		s += ", two renditions"
	}
	if c.bframes > 0 {
		s += ", B-frames"
	}
	return s + fmt.Sprintf(", GOP %v", c.gopLength())
}

func (c clip) gopLength() time.Duration { return max(c.gop, time.Second) }

const clipRate = 30 // pictures a second

// encoders are ffmpeg's arguments for a codec.
var encoders = map[string][]string{
	"h264": {"-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-sc_threshold", "0"},
	"hevc": {"-c:v", "libx265", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-tag:v", "hvc1", "-x265-params", "log-level=error:scenecut=0:open-gop=0"},
	"av1":  {"-c:v", "libaom-av1", "-cpu-used", "8", "-usage", "realtime", "-pix_fmt", "yuv420p"},
	"vp9":  {"-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-pix_fmt", "yuv420p"},
	"aac":  {"-c:a", "aac", "-b:a", "96k", "-ac", "2"},
	"opus": {"-c:a", "libopus", "-b:a", "96k", "-ac", "2"},
	"flac": {"-c:a", "flac", "-ac", "2"},
	"ac3":  {"-c:a", "ac3", "-b:a", "192k", "-ac", "2"},
	"eac3": {"-c:a", "eac3", "-b:a", "192k", "-ac", "2"},
}

// clips are made once for a test process.
var clips struct {
	sync.Mutex
	dir  string
	made map[clip]func() error
}

// file returns the clip as a fragmented MP4 file.
func (c clip) file(t *testing.T) string {
	t.Helper()
	clips.Lock()
	if clips.made == nil {
		clips.dir, clips.made = filepath.Dir(harness.Artifact(t, "clips")), make(map[clip]func() error)
	}
	name := filepath.Join(clips.dir, "clip-"+strings.NewReplacer(", ", "-", " ", "", "+", "-").Replace(c.String())+"-"+c.lasts().String()+".mp4")
	once := clips.made[c]
	if once == nil {
		once = sync.OnceValue(func() error { return c.make(t, name) })
		clips.made[c] = once
	}
	clips.Unlock()
	if err := once(); err != nil {
		t.Fatal(err)
	}
	return name
}

func (c clip) lasts() time.Duration {
	if c.length > 0 {
		return c.length
	}
	return 4 * time.Second
}

func (c clip) make(t *testing.T, name string) error {
	args := []string{"-v", "error", "-y", "-nostdin"}
	if c.video != "" {
		args = append(args, "-f", "lavfi", "-i", fmt.Sprintf("testsrc2=size=320x180:rate=%d", clipRate))
	}
	if c.audio != "" {
		args = append(args, "-f", "lavfi", "-i", "sine=frequency=440:beep_factor=2:sample_rate=48000")
	}
	for i := range len([]bool{c.video != "", c.audio != ""}) {
		if i == 0 && c.video == "" || i == 1 && c.audio == "" {
			continue
		}
		input := 0
		if i == 1 && c.video != "" {
			input = 1
		}
		args = append(args, "-map", strconv.Itoa(input))
		if i == 0 && c.ladder {
			args = append(args, "-map", "0", "-s:v:1", "160x90")
		}
	}
	args = append(args, "-t", fmt.Sprint(c.lasts().Seconds()))
	if c.video != "" {
		gop := strconv.Itoa(int(c.gopLength().Seconds() * clipRate))
		args = append(args, encoders[c.video]...)
		args = append(args, "-g", gop, "-keyint_min", gop, "-bf", strconv.Itoa(c.bframes), "-threads", "1")
	}
	args = append(args, encoders[c.audio]...)
	args = append(args, "-f", "mp4", "-strict", "experimental", "-movflags", "+frag_keyframe+delay_moov+default_base_moof", name)
	out, err := exec.Command(harness.Tool(t, "ffmpeg"), args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ffmpeg %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// A stream is what ffprobe says of one of a file's streams.
type stream struct {
	index   int
	kind    string // video, audio
	codecs  string // of RFC 6381, as far as ffprobe says it
	packets []packet
}

func (s stream) name() string { return fmt.Sprintf("stream %d (%s)", s.index, s.codecs) }

// A packet is one packet of a stream, in the order of decoding.
type packet struct {
	pts  time.Duration
	key  bool
	hash string
}

// probe reads the streams of a file.
func probe(t *testing.T, file string) []stream {
	t.Helper()
	cmd := exec.Command(harness.Tool(t, "ffprobe"), "-v", "error", "-show_data_hash", "md5", "-of", "json", "-show_streams", "-show_packets", file)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("ffprobe of %s: %v", file, err)
	}
	var doc struct {
		Streams []struct {
			Index   int
			Kind    string `json:"codec_type"`
			Codec   string `json:"codec_name"`
			Profile string
			Level   int
		}
		Packets []struct {
			Stream int    `json:"stream_index"`
			PTS    string `json:"pts_time"`
			Flags  string
			Hash   string `json:"data_hash"`
		}
	}
	if err := json.Unmarshal(out, &doc); err != nil {
		t.Fatalf("ffprobe of %s: %v", file, err)
	}
	var list []stream
	at := make(map[int]int)
	for _, s := range doc.Streams {
		if s.Kind != "video" && s.Kind != "audio" {
			continue
		}
		at[s.Index] = len(list)
		list = append(list, stream{index: s.Index, kind: s.Kind, codecs: codecString(s.Codec, s.Profile, s.Level)})
	}
	for _, p := range doc.Packets {
		i, ok := at[p.Stream]
		if !ok {
			continue
		}
		seconds, err := strconv.ParseFloat(p.PTS, 64)
		if err != nil {
			t.Fatalf("ffprobe of %s: a packet of stream %d at %q", file, p.Stream, p.PTS)
		}
		list[i].packets = append(list[i].packets, packet{time.Duration(seconds * float64(time.Second)), strings.Contains(p.Flags, "K"), p.Hash})
	}
	for _, s := range list {
		if len(s.packets) == 0 {
			t.Fatalf("%s: %s has no packets", file, s.name())
		}
	}
	return list
}

// codecString returns what ffprobe's words make of a codecs parameter; a star
// stands for what it does not say.
func codecString(name, profile string, level int) string {
	switch name {
	case "h264":
		idc := map[string]int{"Constrained Baseline": 66, "Baseline": 66, "Main": 77, "High": 100}[profile]
		return fmt.Sprintf("avc1.%02x*%02x", idc, level)
	case "hevc":
		return fmt.Sprintf("hvc1.%d.*L%d.90", map[string]int{"Main": 1, "Main 10": 2}[profile], level)
	case "av1":
		return fmt.Sprintf("av01.%d.%02dM*", map[string]int{"Main": 0, "High": 1}[profile], level)
	case "vp9":
		return "vp09.0" + strings.TrimPrefix(profile, "Profile ") + ".*"
	case "aac":
		return map[string]string{"LC": "mp4a.40.2", "HE-AAC": "mp4a.40.5"}[profile]
	case "opus":
		return "opus"
	case "flac":
		return "fLaC"
	case "ac3":
		return "ac-3"
	case "eac3":
		return "ec-3"
	}
	return name
}
