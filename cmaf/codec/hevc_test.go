package codec

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/Eyevinn/mp4ff/hevc"
)

// hevcRecords are hvcC contents that libx265 wrote through ffmpeg 5.1.9 from
// testsrc, with the pixel format and parameters in the name.
var hevcRecords = []struct {
	name, hex string
	want      Video
}{
	{"yuv420p", "0101600000009000000000007bf000fcfdf8f800000f03200001001840010c01ffff01600000030090000003000003007b959409210001002b42010101600000030090000003000003007ba003c0801107cb965654a4c2f0168080000003008000001e0422000100064401c073c189", Video{"hvc1.1.6.L123.90", 1920, 1080, 60, 8, hevc4}},
	{"cropped from 328x184, 23.976", "0101600000009000000000003cf000fcfdf8f800000f03200001001840010c01ffff01600000030090000003000003003c959409210001002a42010101600000030090000003000003003ca00a880c1c44d965654a4c2f01680800001f480002ee004022000100064401c073c189", Video{"hvc1.1.6.L60.90", 322, 182, 24000. / 1001, 8, hevc4}},
	{"yuv422p10le", "0104080000009d08000000003cf000fcfefafa00000f03200001001740010c01ffff0408000003009d0800000300003c959409210001002b4201010408000003009d0800000300003cb00a080c1f1ad965654a4c2f016808000003000800000301904022000100064401c073c189", Video{"hvc1.4.10.L60.9D.8", 320, 180, 50, 10, hevc4}},
	{"yuv444p12le", "0104080000009808000000001ef000fcfffcfc00000f03200001001740010c01ffff040800000300980800000300001e959409210001002c420101040800000300980800000300001e9002c40c38f94a52caca94985e02d010000003001000000301908022000100084401c07318301890", Video{"hvc1.4.10.L30.98.8", 162, 92, 25, 12, hevc4}},
	{"gray", "0104080000009fc8000000001ef000fcfcf8f800000f03200001001740010c01ffff0408000003009fc800000300001e95940921000100284201010408000003009fc800000300001ec05880916595952930bc05b020000003002000000301e122000100064401c073c189", Video{"hvc1.4.10.L30.9F.C8", 176, 144, 15, 8, hevc4}},
	{"yuv420p10le hrd sar overscan colours chromaloc scaling-list", "01022000000090000000000099f000fcfdfafa00000f04200001001840010c01ffff022000000300900000030000030099959409210001003b420101022000000300900000030000030099a005020169365959649395e076e1220136c5b6e0000003002000000303cc0292cdc001e848003d091022000100074401c172b4624027000100064e0181010f80", Video{"hvc1.2.4.L153.90", 640, 360, 30, 10, hevc4}},
	{"interlace=tff", "0101600000004000000000005af000fcfdf8f800000f04200001001840010c01ffff01600000030040000003000003005a959409210001002a42010101600000030040000003000003005aa005020171f2e595952930bc05a1a000000300200000064122000100064401c073c18927000100064e0181010f80", Video{"hvc1.1.6.L90.40", 640, 360, 25, 8, hevc4}},
	{"pass=2 multi-pass-opt-rps", "0104080000009e08000000003cf000fcfff8f800000f03200001001740010c01ffff0408000003009e0800000300003c959809210001002c4201010408000003009e0800000300003c9001410173e5cb2b349265780b702020004000000300400000064222000100084401c172860c4624", Video{"hvc1.4.10.L60.9E.8", 320, 180, 25, 8, hevc4}},
}

var hevc4 = KeyFrames{syntaxHEVC, 4}

func TestHEVC(t *testing.T) {
	for _, tt := range hevcRecords {
		t.Run(tt.name, func(t *testing.T) {
			b := unhex(t, tt.hex)
			got, err := HEVC("hvc1", b)
			if err != nil || got != tt.want {
				t.Errorf("HEVC = %+v, %v; want %+v", got, err, tt.want)
			}
			nal, err := hevcFirstSPS(b[22:])
			if err != nil {
				t.Fatal(err)
			}
			sps, err := hevc.ParseSPSNALUnit(nal)
			if err != nil {
				t.Fatal(err)
			}
			w, h := sps.ImageSize()
			if int(w) != got.Width || int(h) != got.Height || hevc.CodecString("hvc1", sps) != got.Codec || int(sps.BitDepthLumaMinus8)+8 != got.BitDepth {
				t.Errorf("mp4ff reads %s of %dx%d, %d bits; we %+v", hevc.CodecString("hvc1", sps), w, h, sps.BitDepthLumaMinus8+8, got)
			}
			for cut := range b { // a record has no room to lose
				if v, err := HEVC("hvc1", b[:cut]); err == nil {
					t.Fatalf("accepted the first %d of %d bytes as %+v", cut, len(b), v)
				}
			}
		})
	}
}

func TestHEVCRefuses(t *testing.T) {
	const fixed = "01016000000090000000000 01ef000fcfdf8f800000f"
	for _, tt := range []struct{ name, entry, hex, says string }{
		{"nothing", "hvc1", "", "needs 23"},
		{"version", "hvc1", strings.Replace(fixed, "01", "00", 1) + "00", "version 0"},
		{"3-byte lengths", "hvc1", fixed[:len(fixed)-2] + "0e00", "3 bytes"},
		{"no SPS in hvc1", "hvc1", fixed + "00", "has no SPS"},
		{"no SPS of the base layer", "hvc1", fixed + "01210001 0003420901", "has no SPS"},
		{"more arrays than bytes", "hev1", fixed + "ff", "array 1 of 255"},
		{"more units than bytes", "hev1", fixed + "0121ffff0000", "NAL unit 2 of 65535 of type 33"},
		{"a PPS for an SPS", "hvc1", fixed + "01210001 00044401c1ff", "not a sequence parameter set"},
		{"an SPS that ends", "hvc1", fixed + "01210001 0006420101016000", "SPS"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if v, err := HEVC(tt.entry, unhex(t, strings.ReplaceAll(tt.hex, " ", ""))); err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("HEVC = %+v, %v; want …%s…", v, err, tt.says)
			}
		})
	}
	want := Video{"hev1.1.6.L30.90", 0, 0, 0, 8, hevc4}
	if v, err := HEVC("hev1", unhex(t, strings.ReplaceAll(fixed, " ", "")+"00")); err != nil || v != want {
		t.Errorf("hev1 without SPS: %+v, %v; want %+v", v, err, want)
	}
}

func TestHEVCCodec(t *testing.T) {
	for _, tt := range []struct{ name, hex, want string }{
		{"Main", "01 60000000 900000000000 5d", "hvc1.1.6.L93.90"},
		{"high tier, profile space C, all constraints", "e2 20000000 b00000000001 99", "hvc1.C2.4.H153.B0.0.0.0.0.1"},
		{"no constraints", "01 60000000 000000000000 1e", "hvc1.1.6.L30"},
	} {
		if got := hevcCodec("hvc1", unhex(t, strings.ReplaceAll(tt.hex, " ", ""))); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestHEVCKeyFrame(t *testing.T) {
	for _, tt := range []struct {
		name, hex string
		length    int
		want      bool
	}{
		{"delimiter, SEI, IDR_W_RADL", "00000003460150 00000003 4e0105 00000003 2601af", 4, true},
		{"parameter sets, IDR_N_LP", "0002 4001 0002 4201 0002 4401 0003 2801af", 2, true},
		{"CRA", "03 2a01af", 1, true},
		{"BLA", "03 2001af", 1, true},
		{"TRAIL_R", "03 0201d0", 1, false},
		{"RASL_R", "03 1201d0", 1, false},
		{"first slice counts", "03 0201d0 03 2601af", 1, false},
		{"an IDR of another layer is none", "03 2609af 03 0201d0", 1, false},
		{"parameter sets alone", "02 4001 02 4201", 1, false},
		{"cut off in the unit's header", "03 26", 1, false},
		{"nothing", "", 4, false},
		{"half a length", "0000", 4, false},
	} {
		if got := (KeyFrames{syntaxHEVC, tt.length}).Is(unhex(t, strings.ReplaceAll(tt.hex, " ", ""))); got != tt.want {
			t.Errorf("%s: %t, want %t", tt.name, got, tt.want)
		}
	}
}

// A bitWriter is what the reader reads, for headers that no encoder at hand
// writes.
type bitWriter struct {
	b []byte
	n int
}

func (w *bitWriter) bits(v uint32, n int) {
	for i := n - 1; i >= 0; i-- {
		if w.n%8 == 0 {
			w.b = append(w.b, 0)
		}
		w.b[w.n/8] |= byte(v>>i&1) << (7 - w.n%8)
		w.n++
	}
}

func (w *bitWriter) ue(vs ...uint32) {
	for _, v := range vs {
		n := 0
		for v+1 >= 2<<n {
			n++
		}
		w.bits(0, n)
		w.bits(v+1, n+1)
	}
}

// nal returns the bits with a stop bit, and with emulation prevention.
func (w *bitWriter) nal(header ...byte) []byte {
	w.bits(1, 1)
	out, zeros := header, 0
	for _, c := range w.b {
		if zeros == 2 && c <= 3 {
			out, zeros = append(out, 3), 0
		}
		if zeros++; c != 0 {
			zeros = 0
		}
		out = append(out, c)
	}
	return out
}

// What stands ahead of the VUI varies in length; the frame rate behind it shows
// whether all of it was read.
func TestHEVCSPSParts(t *testing.T) {
	none := func(w *bitWriter) {}
	noSets := func(w *bitWriter) { w.ue(0); w.bits(0, 1) }
	for _, tt := range []struct {
		name      string
		subLayers uint32
		layers    func(w *bitWriter)
		lists     func(w *bitWriter)
		sets      func(w *bitWriter)
		fails     string
	}{
		{"nothing of it", 0, none, nil, noSets, ""},
		{"sub-layers, one with profile and level, one with a level", 2, func(w *bitWriter) {
			w.bits(0b1101, 4)
			w.bits(0, 12)
			for range 11 + 1 + 1 {
				w.bits(0xff, 8)
			}
		}, nil, noSets, ""},
		{"scaling lists, predicted and written", 0, none, func(w *bitWriter) {
			w.bits(1, 1)
			for size := range 4 {
				for matrix := range 6 {
					switch {
					case size == 3 && matrix%3 > 0:
					case matrix == 0:
						w.bits(1, 1)
						if size > 1 {
							w.ue(5)
						}
						for i := range min(64, 16<<(2*size)) {
							w.ue(uint32(i))
						}
					default:
						w.bits(0, 1)
						w.ue(1)
					}
				}
			}
		}, noSets, ""},
		{"explicit and predicted reference sets", 0, none, nil, func(w *bitWriter) {
			w.ue(4)
			w.ue(2, 1) // before -1 and -3, after +2
			w.ue(0)
			w.bits(1, 1)
			w.ue(1)
			w.bits(1, 1)
			w.ue(1)
			w.bits(0, 1)

			w.bits(1, 1) // predicted, by +1: +3, +1, 0 and -2, of which 0 drops out
			w.bits(0, 1)
			w.ue(0)
			w.bits(0b1111, 4)

			w.bits(1, 1) // of those three, by -2: one left out, one unused
			w.bits(1, 1)
			w.ue(1)
			w.bits(0b00_01_1_1, 6)

			w.bits(1, 1) // again three
			w.bits(1, 1)
			w.ue(0)
			w.bits(0b1111, 4)
			w.bits(1, 1) // long-term: 2 with 8 bits each and a flag
			w.ue(2)
			w.bits(0x3ffff, 18)
		}, ""},
		{"65 sets", 0, none, nil, func(w *bitWriter) { w.ue(65) }, "num_short_term_ref_pic_sets 65"},
		{"a set of 17 pictures", 0, none, nil, func(w *bitWriter) { w.ue(1, 17, 0) }, "17 and 0 pictures"},
		{"a distance beyond 2^15", 0, none, nil, func(w *bitWriter) { w.ue(2, 0, 0); w.bits(2, 2); w.ue(1 << 15) }, "abs_delta_rps_minus1 32768"},
		{"33 long-term pictures", 0, none, nil, func(w *bitWriter) { w.ue(0); w.bits(1, 1); w.ue(33) }, "num_long_term_ref_pics_sps 33"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := &bitWriter{}
			w.bits(0, 4)
			w.bits(tt.subLayers, 3)
			w.bits(1, 1)
			for _, c := range []uint32{1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 93} {
				w.bits(c, 8)
			}
			tt.layers(w)
			w.ue(0, 1, 640, 360)
			w.bits(0, 1)
			w.ue(0, 0, 4)
			w.bits(0, 1)
			w.ue(4, 2, 5, 0, 3, 0, 3, 0, 0) // one sub-layer's buffering; blocks
			if tt.lists != nil {
				w.bits(1, 1)
				tt.lists(w)
			} else {
				w.bits(0, 1)
			}
			w.bits(0b010, 3) // no amp, sao, no pcm
			tt.sets(w)
			w.bits(0b11, 2)
			w.bits(0b1_0000_0000_1, 10) // VUI: only its timing
			w.bits(1001, 32)
			w.bits(60000, 32)
			w.bits(0, 3)
			w.bits(0, 1)
			nal := w.nal(0x42, 1)
			got, err := parseHEVCSPS(nal)
			if tt.fails != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fails) {
					t.Errorf("parseHEVCSPS = %+v, %v; want …%s…", got, err, tt.fails)
				}
				return
			}
			if err != nil || got.width != 640 || got.height != 360 || got.frameRate != 60000./1001 {
				t.Errorf("parseHEVCSPS = %+v, %v; want 640x360 at 59.94", got, err)
			}
		})
	}
}

// hvcC puts an SPS into a record.
func hvcC(sps []byte) []byte {
	b := append([]byte{1, 1, 0x60, 0, 0, 0, 0x90, 0, 0, 0, 0, 0, 93, 0xf0, 0, 0xfc, 0xfd, 0xf8, 0xf8, 0, 0, 0xf, 1}, 0x21, 0, 1)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(sps))), sps...)
}
