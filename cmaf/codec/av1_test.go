package codec

import (
	"strings"
	"testing"

	"github.com/Eyevinn/mp4ff/av1"
)

var keysAV1 = KeyFrames{syntax: syntaxAV1}

// av1Records are av1C contents that libaom (and where named another encoder)
// wrote through ffmpeg 5.1.9 from testsrc, with the pixel format and parameters
// in the name.
var av1Records = []struct {
	name, hex string
	want      Video
}{
	{"yuv420p 1080p", "81080c000a0b00000042abbfc3776be401", Video{"av01.0.08M.08", 1920, 1080, 0, 8, keysAV1}},
	{"yuv420p, full range, odd height", "81000c000a0b000000043d06d0daf90840", Video{"av01.0.00M.08.0.110.02.02.02.1", 322, 181, 0, 8, keysAV1}},
	{"yuv444p10le", "812040000a0a20000003b4ff736be508", Video{"av01.1.00M.10.0.000.02.02.02.0", 160, 120, 0, 10, keysAV1}},
	{"yuv422p12le", "814068000a0b40000003b4ff736be58880", Video{"av01.2.00M.12.0.100.02.02.02.0", 160, 120, 0, 12, keysAV1}},
	{"gray in BT.709", "81001c000a0d00000003b4ff736be4c0404068", Video{"av01.0.00M.08.1.110.01.01.01.1", 160, 120, 0, 8, keysAV1}},
	{"gbrp", "812000000a0d20000003b4ff736be480868010", Video{"av01.1.00M.08.0.000.01.13.00.1", 160, 120, 0, 8, keysAV1}},
	{"yuv420p in BT.709", "81000c000a0d00000003b4ff736be440404041", Video{"av01.0.00M.08", 160, 120, 0, 8, keysAV1}},
	{"still-picture", "81000c000a06181da7fbb401", Video{"av01.0.00M.08", 160, 120, 0, 8, keysAV1}},
	{"timing-info=model", "81000c000a1d0400000fa40001d4c17800001f4a530000035f915f90bbb4ff736be401", Video{"av01.0.00M.08", 160, 120, 0, 8, keysAV1}},
	{"rav1e, yuv420p10le, still", "811f4c000a0e000000f9da7fb8842aa040404280", Video{"av01.0.31M.10", 160, 120, 0, 10, keysAV1}},
	{"SVT-AV1 720p", "81080c000a0b00000042a67fd9e017c002", Video{"av01.0.08M.08", 1280, 720, 0, 8, keysAV1}},
	{"SVT-AV1 in BT.2020 with PQ", "81004c000a0d00000003b4ff700be142440241", Video{"av01.0.00M.10.0.110.09.16.09.0", 160, 120, 0, 10, keysAV1}},
}

func TestAV1(t *testing.T) {
	for _, tt := range av1Records {
		t.Run(tt.name, func(t *testing.T) {
			b := unhex(t, tt.hex)
			got, err := AV1(b)
			if err != nil || got != tt.want {
				t.Errorf("AV1 = %+v, %v; want %+v", got, err, tt.want)
			}
			rec, err := av1.DecodeAV1CodecConfRec(b)
			if err != nil {
				t.Fatal(err)
			}
			seq, err := rec.SequenceHeader()
			if err != nil {
				t.Fatal(err)
			}
			// mp4ff writes the second part also where no colours are described.
			want := strings.TrimSuffix(seq.CodecString("av01"), ".0.110.02.02.02.0")
			if want != got.Codec {
				t.Errorf("mp4ff reads %s, we %s", want, got.Codec)
			}
			for cut := range b {
				if v, err := AV1(b[:cut]); err == nil && cut != 4 {
					t.Fatalf("accepted the first %d of %d bytes as %+v", cut, len(b), v)
				}
			}
			// Without a sequence header the record's own fields must do.
			if short, err := AV1(b[:4]); err != nil || !strings.HasPrefix(short.Codec, got.Codec[:13]) || short.BitDepth != got.BitDepth || short.Width != 0 {
				t.Errorf("without configOBUs: %+v, %v", short, err)
			}
		})
	}
}

// A sequence header with all that encoders at hand leave out.
func TestAV1Sequence(t *testing.T) {
	w := &bitWriter{}
	w.bits(0b000_0_0, 5) // Main, not still
	w.bits(1, 1)         // timing
	w.bits(1, 32)
	w.bits(120, 32)
	w.bits(1, 1) // equal interval: 2 ticks
	w.ue(1)
	w.bits(1, 1) // decoder model: 10 bits of delay
	w.bits(9, 5)
	w.bits(1, 32)
	w.bits(0, 10)
	w.bits(1, 1) // display delay
	w.bits(1, 5) // two operating points
	w.bits(0x303, 12)
	w.bits(13, 5) // level 5.1, high tier
	w.bits(1, 1)
	w.bits(1, 1)
	w.bits(0x1fffff, 21)
	w.bits(0b1_0011, 5)
	w.bits(0x101, 12)
	w.bits(5, 5) // no tier bit
	w.bits(0, 2)
	w.bits(11, 4)
	w.bits(11, 4)
	w.bits(3839, 12)
	w.bits(2159, 12)
	w.bits(1, 1) // frame ids
	w.bits(0, 7+3)
	w.bits(0, 4)
	w.bits(0b1_00, 3)    // order hint
	w.bits(0b0_1_0_1, 4) // screen content and integer motion vectors forced
	w.bits(6, 3+3)
	w.bits(0b1_0_1, 3) // 10 bits, described
	w.bits(9, 8)
	w.bits(18, 8)
	w.bits(9, 8)
	w.bits(0b0_10_0_0, 5) // limited range, chroma at the top left
	got, err := AV1(append([]byte{0x81, 0x0d, 0xcc, 0, 0x0a, byte(len(w.b))}, w.b...))
	want := Video{"av01.0.13H.10.0.112.09.18.09.0", 3840, 2160, 60, 10, keysAV1}
	if err != nil || got != want {
		t.Errorf("AV1 = %+v, %v; want %+v", got, err, want)
	}
}

func TestAV1Refuses(t *testing.T) {
	for _, tt := range []struct{ name, hex, says string }{
		{"nothing", "", "delay_moov"},
		{"three bytes", "81000c", "needs 4"},
		{"no marker", "01000c00", "0x01"},
		{"version 2", "82000c00", "0x82"},
		{"forbidden bit", "81000c008a00", "forbidden"},
		{"no room for the extension", "81000c000e", "OBU header"},
		{"size without end", "81000c000affffffffffffffff01", "no end"},
		{"size over the end", "81000c000a0500", "size 5, 1 bytes"},
		{"profile 3", "81000c000a0b60000042abbfc3776be401", "seq_profile 3"},
		{"sequence header ends", "81000c000a0200", "size 2, 1 bytes"},
		{"sequence header is short", "81000c000a0500000042ab", "ends early"},
	} {
		if v, err := AV1(unhex(t, tt.hex)); err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %+v, %v; want …%s…", tt.name, v, err, tt.says)
		}
	}
}

func TestAV1KeyFrame(t *testing.T) {
	for _, tt := range []struct {
		name, hex string
		want      bool
	}{
		{"delimiter, sequence header, key frame", "1200 0a0b00000042abbfc3776be401 32021000", true},
		{"key frame without size field", "1200 301000", true},
		{"frame header, with extension", "160800 1e080110", true},
		{"key frame that is not shown", "32020000", false},
		{"inter frame", "1200 32023000", false},
		{"intra-only frame", "32025000", false},
		{"shows an existing frame", "1a0180", false},
		{"still picture", "0a06181da7fbb401 320200ff", true},
		{"delimiter alone", "1200", false},
		{"empty frame", "3200", false},
		{"size over the end", "320710", false},
		{"nothing", "", false},
	} {
		if got := keysAV1.Is(unhex(t, strings.ReplaceAll(tt.hex, " ", ""))); got != tt.want {
			t.Errorf("%s: %t, want %t", tt.name, got, tt.want)
		}
	}
}
