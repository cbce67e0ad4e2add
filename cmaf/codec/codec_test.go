package codec

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"strings"
	"testing"

	"github.com/Eyevinn/mp4ff/avc"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// records are avcC contents that libx264 wrote through ffmpeg 5.1.9 from
// testsrc, with the pixel format and parameters in the name.
var records = []struct {
	name, hex string
	want      Video
}{
	{"yuv420p", "0164000bffe100196764000bacd942847e5c0440000003004000000c83c50a658001000668ebe3cb22c0fdf8f800", Video{"avc1.64000b", 160, 120, 25, 8, KeyFrames{syntaxAVC, 4}}},
	{"profile baseline", "0142c01fffe100176742c01fd9005005bb011000003e90000ea600f183248001000568cb83cb20", Video{"avc1.42c01f", 1280, 720, 30000. / 1001, 8, KeyFrames{syntaxAVC, 4}}},
	{"cropped from 1088 lines", "0164002affe1001b6764002aacd940780227e5c044000003000400000301e03c60c65801000668ebe3cb22c0fdf8f800", Video{"avc1.64002a", 1920, 1080, 60, 8, KeyFrames{syntaxAVC, 4}}},
	{"interlaced", "01640028ffe1001a67640028acd94078044fde0220000003002000000643e2c5b2c001000668fba3cb22c0fdf8f800", Video{"avc1.640028", 1920, 1080, 25, 8, KeyFrames{syntaxAVC, 4}}},
	{"yuv422p10le", "017a001fffe1001b677a001fb6cd940a02ff89c044000003000400000301903c60c65801000668ebe3cb22c0fefafa00", Video{"avc1.7a001f", 640, 360, 50, 10, KeyFrames{syntaxAVC, 4}}},
	{"yuv444p cqm=jvt", "01f4000dffe1001967f4000d919b282a33c7c5e022000007d2000177001e28532c01000868ebe3c44c000440fff8f800", Video{"avc1.f4000d", 322, 182, 24000. / 1001, 8, KeyFrames{syntaxAVC, 4}}},
	{"gray", "0164000affe100196764000af3650b13b016c8000003000800000300f078912cb001000668ebe3cb22c0fcf8f800", Video{"avc1.64000a", 176, 144, 15, 8, KeyFrames{syntaxAVC, 4}}},
	{"nal-hrd, colours, sar, overscan, chromaloc", "0164001effe100296764001eacd940a02ff970eb5010202b70000003001000000303c602001e840007a13930c01e2c5b2c01000568ebecb22cfdf8f800", Video{"avc1.64001e", 640, 360, 30, 8, KeyFrames{syntaxAVC, 4}}},
}

func TestAVC(t *testing.T) {
	for _, tt := range records {
		t.Run(tt.name, func(t *testing.T) {
			b := unhex(t, tt.hex)
			got, err := AVC("avc1", b)
			if err != nil || got.Codec != tt.want.Codec || got.Width != tt.want.Width || got.Height != tt.want.Height ||
				math.Abs(got.FrameRate-tt.want.FrameRate) > 1e-9 || got.KeyFrames != tt.want.KeyFrames || got.BitDepth != tt.want.BitDepth {
				t.Errorf("AVC = %+v, %v; want %+v", got, err, tt.want)
			}
			n := binary.BigEndian.Uint16(b[6:])
			sps, err := avc.ParseSPSNALUnit(b[8:8+n], true)
			if err != nil || int(sps.Width) != got.Width || int(sps.Height) != got.Height {
				t.Errorf("mp4ff reads %dx%d, %v; we %dx%d", sps.Width, sps.Height, err, got.Width, got.Height)
			}
			for cut := range 8 + int(n) { // the SPS has no room to lose
				if v, err := AVC("avc1", b[:cut]); err == nil {
					t.Fatalf("accepted the first %d bytes as %+v", cut, v)
				}
			}
		})
	}
}

func TestAVCRefuses(t *testing.T) {
	for _, tt := range []struct{ name, entry, hex, says string }{
		{"nothing", "avc1", "", "needs 6"},
		{"version", "avc1", "0264000bffe1", "version 2"},
		{"3-byte lengths", "avc1", "0164000bfee0", "3 bytes"},
		{"no SPS in avc1", "avc1", "0164000bffe0", "has no SPS"},
		{"a PPS for an SPS", "avc1", "0164000bffe1000568ebe3cb22", "not a sequence parameter set"},
		{"pictures of 2^31 macroblocks", "avc1", "0142c01fffe1000d6742c01fda000000020000000280", "SPS"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if v, err := AVC(tt.entry, unhex(t, tt.hex)); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("AVC = %+v, %v; want …%s…", v, err, tt.says)
			}
		})
	}
	if v, err := AVC("avc3", unhex(t, "0164000bffe0")); err != nil || v.Codec != "avc3.64000b" {
		t.Errorf("avc3 without SPS: %+v, %v", v, err)
	}
}

func TestAVCKeyFrame(t *testing.T) {
	for _, tt := range []struct {
		name, hex string
		length    int
		want      bool
	}{
		{"delimiter, SEI, IDR", "0000000209f0 00000002 06ff 00000003 65ffff", 4, true},
		{"not IDR", "00000002 419a", 4, false},
		{"data partition A", "00000002 429a", 4, false},
		{"parameter sets alone", "00000002 6764 00000002 68eb", 4, false},
		{"lengths of 2 bytes", "0002 09f0 0002 65ff", 2, true},
		{"empty NAL units", "00000000 00000000 00000001 65", 4, true},
		{"a length over the end", "ffffffff 06 65", 4, false},
		{"nothing", "", 4, false},
		{"half a length", "0000", 4, false},
	} {
		if got := (KeyFrames{syntaxAVC, tt.length}).Is(unhex(t, strings.ReplaceAll(tt.hex, " ", ""))); got != tt.want {
			t.Errorf("%s: %t, want %t", tt.name, got, tt.want)
		}
	}
}

func TestAAC(t *testing.T) {
	for _, tt := range []struct {
		name, hex string
		want      Audio
	}{
		{"LC 48 kHz stereo", "1190", Audio{"mp4a.40.2", 48000, 2, 0, 1024}},
		{"LC 22.05 kHz mono", "138856e500", Audio{"mp4a.40.2", 22050, 1, 0, 1024}},
		{"LC 44.1 kHz, 7.1", "1238", Audio{"mp4a.40.2", 44100, 8, 0, 1024}},
		{"LC, rate as a number", "1787d00010", Audio{"mp4a.40.2", 1024000, 2, 0, 1024}},
		{"HE 24 kHz, 48 kHz out", "2b118800", Audio{"mp4a.40.5", 48000, 2, 0, 2048}},
		{"HE version 2, stereo out of mono", "eb098800", Audio{"mp4a.40.29", 48000, 2, 0, 2048}},
		{"USAC, an object type beyond 31", "f9464000", Audio{"mp4a.40.42", 48000, 2, 0, 0}},
		{"channels in a program config element", "1180", Audio{"mp4a.40.2", 48000, 0, 0, 1024}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := AAC(unhex(t, tt.hex)); err != nil || got != tt.want {
				t.Errorf("AAC = %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
	for _, bad := range []string{"", "11", "1680", "1780000010"} {
		if got, err := AAC(unhex(t, bad)); err == nil {
			t.Errorf("AAC(%s) = %+v, want an error", bad, got)
		}
	}
}

// esds is what ffmpeg 5.1.9 wrote for mono AAC at 22.05 kHz.
const esds = "03808080250001000480808017401500000000011947000119470580808005138856e500068080800102"

func TestESDS(t *testing.T) {
	b := unhex(t, esds)
	if got, err := ESDS(b); err != nil || got != (Audio{"mp4a.40.2", 22050, 1, 72007, 1024}) {
		t.Errorf("ESDS = %+v, %v", got, err)
	}
	for n := range len(b) {
		if got, err := ESDS(b[:n]); err == nil {
			t.Errorf("accepted the first %d bytes as %+v", n, got)
		}
	}
	for _, tt := range []struct{ name, hex, says string }{
		{"MP3", strings.Replace(esds, "401500", "6b1500", 1), "0x6b (MP3)"},
		{"no end to a size", "03808080808080", "no end"},
		{"another descriptor", "0600", "descriptor 3 is missing"},
		{"an URL over the end", "030400014005", "ends early"},
	} {
		if got, err := ESDS(unhex(t, tt.hex)); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %+v, %v; want …%s…", tt.name, got, err, tt.says)
		}
	}
}

// Whatever comes, what is accepted makes sense.
func FuzzConfig(f *testing.F) {
	for _, r := range records {
		f.Add(unhex(f, r.hex))
	}
	for _, r := range hevcRecords {
		f.Add(unhex(f, r.hex))
	}
	for _, r := range av1Records {
		f.Add(unhex(f, r.hex))
	}
	for _, s := range []string{esds, dOps, "1190", "120032021000", "8000002210001000000000000000177000f000000000" + emptyMD5} {
		f.Add(unhex(f, s))
	}
	entries := map[string]Entry{}
	for _, typ := range []string{"avc1", "avc3", "hvc1", "hev1", "av01", "mp4a", "Opus", "fLaC"} {
		e, err := EntryOf(typ)
		if err != nil {
			f.Fatal(err)
		}
		entries[typ] = e
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		for typ, e := range entries {
			checkConfig(t, typ, e, in)
		}
		if _, err := HEVC("hvc1", hvcC(in[:min(len(in), 1000)])); err == nil && len(in) < 20 {
			t.Fatalf("%x is an SPS", in)
		}
		for s := syntaxAVC; s <= syntaxAV1; s++ {
			for length := 1; length <= 4; length++ {
				KeyFrames{s, length}.Is(in)
			}
		}
		if a, err := AAC(in); err == nil && (a.SampleRate <= 0 || !strings.HasPrefix(a.Codec, "mp4a.40.")) {
			t.Fatalf("%x: %+v", in, a)
		}
	})
}

func checkConfig(t *testing.T, typ string, e Entry, in []byte) {
	if e.Audio != nil {
		a, err := e.Audio(in)
		if err == nil && (a.SampleRate <= 0 || a.Channels < 0 || a.Bitrate < 0 || !strings.EqualFold(a.Codec[:4], typ)) {
			t.Fatalf("%s %x: %+v", typ, in, a)
		}
		return
	}
	v, err := e.Video(in)
	if err != nil {
		return
	}
	inBand := typ == "avc3" || typ == "hev1" || typ == "av01" // size may come later
	if v.Width < 0 || v.Height < 0 || (v.Width == 0 || v.Height == 0) && !inBand || v.Width > 1<<17 || v.Height > 1<<18 {
		t.Fatalf("%s %x: %+v", typ, in, v)
	}
	if v.FrameRate < 0 || v.FrameRate > 1000 || v.BitDepth > 16 || !v.KeyFrames.Known() || len(v.Codec) < 11 || v.Codec[:4] != typ {
		t.Fatalf("%s %x: %+v", typ, in, v)
	}
}
