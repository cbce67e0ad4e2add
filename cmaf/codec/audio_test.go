package codec

import (
	"fmt"
	"strings"
	"testing"
)

const (
	// What ffmpeg 5.1.9 wrote for libopus in stereo and 5.1, and for FLAC in mono
	// at 96 kHz.
	dOps     = "000201380000bb80000000"
	dOps51   = "000601380000bb8000000104020004010203 05"
	emptyMD5 = "00000000000000000000000000000000"
)

func TestOpus(t *testing.T) {
	for _, tt := range []struct {
		name, hex string
		want      Audio
		says      string
	}{
		{"stereo", dOps, Audio{"opus", 48000, 2, 0, 0}, ""},
		{"5.1", dOps51, Audio{"opus", 48000, 6, 0, 0}, ""},
		{"44.1 kHz went in", "000101380000ac44000000", Audio{"opus", 48000, 1, 0, 0}, ""},
		{"short", dOps[:20], Audio{}, "needs 11"},
		{"version", "01" + dOps[2:], Audio{}, "version 1"},
		{"no channels", "0000" + dOps[4:], Audio{}, "0 channels"},
		{"three channels of family 0", "0003" + dOps[4:], Audio{}, "without a channel mapping"},
		{"mapping ends", "000601380000bb80000001040200", Audio{}, "ends inside"},
	} {
		got, err := Opus(unhex(t, strings.ReplaceAll(tt.hex, " ", "")))
		if got != tt.want || (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %+v, %v; want %+v …%s…", tt.name, got, err, tt.want, tt.says)
		}
	}
}

func TestFLAC(t *testing.T) {
	info := func(v string) string { return "8000002210001000000000000000" + v + "00000000" + emptyMD5 }
	for _, tt := range []struct {
		name, hex string
		want      Audio
		says      string
	}{
		{"96 kHz mono", info("177000f0"), Audio{"fLaC", 96000, 1, 0, 4096}, ""},
		{"44.1 kHz stereo", info("0ac442f0"), Audio{"fLaC", 44100, 2, 0, 4096}, ""},
		{"655.35 kHz, 8 channels", info("9fff7ff0"), Audio{"fLaC", 655351, 8, 0, 4096}, ""},
		{"another block first", "04000004" + "00000000", Audio{}, "metadata block 4"},
		{"size", "00000021", Audio{}, "STREAMINFO of 33"},
		{"short", info("177000f0")[:40], Audio{}, "ends inside"},
		{"nothing", "", Audio{}, "needs 38"},
		{"rate 0", info("000000f0"), Audio{}, "sample rate 0"},
	} {
		got, err := FLAC(unhex(t, strings.ReplaceAll(tt.hex, " ", "")))
		if got != tt.want || (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %+v, %v; want %+v …%s…", tt.name, got, err, tt.want, tt.says)
		}
	}
}

// What cannot be carried is called by its name.
func TestEntryOf(t *testing.T) {
	for typ, want := range map[string]string{"avc1": "avcC", "avc3": "avcC", "hvc1": "hvcC", "hev1": "hvcC", "av01": "av1C", "mp4a": "esds", "Opus": "dOps", "fLaC": "dfLa", "vp09": "vpcC", "ac-3": "dac3", "ec-3": "dec3"} {
		e, err := EntryOf(typ)
		if err != nil || e.Config != want || (e.Video == nil) == (e.Audio == nil) {
			t.Errorf("EntryOf(%s) = %+v, %v; want %s", typ, e, err, want)
		}
	}
	for typ, want := range map[string]string{
		"vp08": "VP8 cannot be carried; H.264, HEVC, AV1, VP9, AAC, Opus, FLAC, AC-3 and E-AC-3 can",
		"ac-4": "AC-4 cannot", "encv": "an encrypted track (encv) cannot", "sowt": "PCM (sowt) cannot", "xyz1": "the codec xyz1 cannot",
	} {
		if _, err := EntryOf(typ); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("EntryOf(%s): %v, want …%s…", typ, err, want)
		}
	}
}

func TestOpusSamples(t *testing.T) {
	for _, tt := range []struct {
		hex  string
		want int
	}{
		{"", 0},
		{"fc", 960},
		{"00", 480},
		{"18", 2880},
		{"60", 480},
		{"68", 960},
		{"80", 120},
		{"f9", 1920},
		{"fb03", 2880},
		{"fb", 0},
		{"fb3f", 0},
		{"19", 5760},
		{"1b03", 0},
	} {
		if got := OpusSamples(unhex(t, tt.hex)); got != tt.want {
			t.Errorf("OpusSamples(%s) = %d, want %d", tt.hex, got, tt.want)
		}
	}
}

// The frames' first bytes are those that ffmpeg 5.1.9 wrote (-c:a ac3, eac3,
// 48 kHz, 5.1 and stereo), and the boxes those that it made of them.
func TestAC3Sync(t *testing.T) {
	for _, tt := range []struct {
		name, hex, config string
		want              Sync
		audio             Audio
	}{
		{"AC-3 5.1, 448 kb/s", "0b775f8c1e40ebf8", "103de0", Sync{"ac-3", nil, 48000, 1536}, Audio{"ac-3", 48000, 6, 0, 0}},
		{"AC-3 stereo, 192 kb/s", "0b775337144043e1", "101140", Sync{"ac-3", nil, 48000, 1536}, Audio{"ac-3", 48000, 2, 0, 0}},
		{"E-AC-3 5.1, 448 kb/s", "0b77037f3f87c000", "0e00200f00", Sync{"ec-3", nil, 48000, 1536}, Audio{"ec-3", 48000, 6, 0, 0}},
		{"E-AC-3 stereo, 192 kb/s", "0b77017f3487c000", "0600200400", Sync{"ec-3", nil, 48000, 1536}, Audio{"ec-3", 48000, 2, 0, 0}},
	} {
		got, err := AC3Sync(unhex(t, tt.hex))
		if err != nil || fmt.Sprintf("%x", got.Config) != tt.config {
			t.Errorf("%s: %x, %v; want %s", tt.name, got.Config, err, tt.config)
			continue
		}
		read := AC3
		if tt.want.Entry == "ec-3" {
			read = EAC3
		}
		if a, err := read(got.Config); a != tt.audio || err != nil {
			t.Errorf("%s: %+v, %v; want %+v", tt.name, a, err, tt.audio)
		}
		if got.Config = nil; got.Entry != tt.want.Entry || got.SampleRate != tt.want.SampleRate || got.Samples != tt.want.Samples {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
	for _, bad := range []string{"", "0b77", "0b78cccc1e40e1de", "0b77ccccde40e1de", "0b77cccc1eff0000", "0b77437f3f86ffe0"} {
		if got, err := AC3Sync(unhex(t, bad)); err == nil {
			t.Errorf("AC3Sync(%s) = %+v, want an error", bad, got)
		}
	}
}

func TestVP9(t *testing.T) {
	for _, tt := range []struct{ hex, want string }{
		{"0015820202020000", "vp09.00.21.08"},
		{"0229a20101010000", "vp09.02.41.10"},
		{"0229a20910090000", "vp09.02.41.10.01.09.16.09.00"},
		{"0015830202020000", "vp09.00.21.08.01.02.02.02.01"},
	} {
		if v, err := VP9(unhex(t, tt.hex)); v.Codec != tt.want || err != nil {
			t.Errorf("VP9(%s) = %+v, %v; want %s", tt.hex, v, err, tt.want)
		}
	}
	for _, bad := range []string{"", "00158202020200", "0415820202020000", "0015720202020000"} {
		if v, err := VP9(unhex(t, bad)); err == nil {
			t.Errorf("VP9(%s) = %+v, want an error", bad, v)
		}
	}
	key := unhex(t, "8249834200"+"13f0"+"0b30"+"00")
	if f, ok := ParseVP9Frame(key); !ok || f != (VP9Frame{true, 320, 180}) {
		t.Errorf("a key frame of 320x180 = %+v, %t", f, ok)
	}
	for hex, want := range map[string]bool{"8249834200" + "13f00b3000": true, "86004000": false, "88": false, "00": false, "": false, "8249834300": false} {
		if got := (KeyFrames{syntax: syntaxVP9}).Is(unhex(t, hex)); got != want {
			t.Errorf("%s is a key frame: %t, want %t", hex, got, want)
		}
	}
}
