package cmaf

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
)

func checkBoxError(t *testing.T, err error, box string, off int64, reason string) {
	t.Helper()
	be, ok := errors.AsType[*BoxError](err)
	if !ok {
		t.Errorf("error %v, want a BoxError of %s: %s", err, box, reason)
		return
	}
	if be.Box != box || off >= 0 && be.Offset != off || !strings.Contains(be.Reason, reason) {
		t.Errorf("error %q, want box %s at %d: …%s…", be, box, off, reason)
	}
	if s := be.Error(); !strings.Contains(s, box) || !strings.Contains(s, "byte ") {
		t.Errorf("the sentence %q lacks box or offset", s)
	}
}

func TestDemuxerMalformed(t *testing.T) {
	in := fixture(t, "keyframe.mp4")
	at := func(path ...string) int64 { from, _ := find(t, in, path...); return int64(from) }
	moovEnd := func() int { _, to := find(t, in, "moov"); return to }()
	entry := []string{"moov", "trak", "mdia", "minf", "stbl", "stsd", "avc1"}
	avcC := append(entry[:len(entry):len(entry)], "avcC")
	trun := []string{"moof", "traf", "trun"}
	video := fixture(t, "video.mp4")
	vfrom, _ := find(t, video, trun...)
	vat := int64(vfrom)
	// with patches and removes, the file stays as it is up to the box.
	p := func(off int, with []byte, path ...string) []byte { return patch(t, in, off, with, path...) }
	traks := func(n, size int) []byte {
		b := mk("mvhd", u32s(0, 0, 0, 1000), make([]byte, 84))
		for range n {
			b = append(b, mk("trak", make([]byte, size-8))...)
		}
		return append(mk("ftyp", []byte("isom\x00\x00\x00\x00")), mk("moov", b)...)
	}

	for _, tt := range []struct {
		name   string
		in     []byte
		box    string
		off    int64
		reason string
	}{
		{"size 0", p(0, u32s(0), "moof"), "moof", at("moof"), "size 0"},
		{"size 0 in a mdat", p(0, u32s(0), "mdat"), "mdat", at("mdat"), "size 0"},
		{"size 1, no room for the large size", p(0, append(u32s(1), append([]byte("moof"), u64(15)...)...), "moof"), "moof", at("moof"), "less than its own header of 16"},
		{"size 2", p(0, u32s(2), "moof"), "moof", at("moof"), "size 2 is less"},
		{"size 2^63", p(0, append(u32s(1), append([]byte("mdat"), u64(1<<63)...)...), "mdat"), "mdat", at("mdat"), "size 9223372036854775808 is beyond"},
		{"size 2^62 of a moov", p(0, append(u32s(1), append([]byte("moov"), u64(1<<62-1)...)...), "moov"), "moov", at("moov"), "over the limit"},
		{"size 2^63 of a trak", p(0, append(u32s(1), append([]byte("trak"), u64(1<<63)...)...), "moov", "trak"), "moov/trak", at("moov", "trak"), "beyond"},
		{"size 0 of a traf", p(0, u32s(0), "moof", "traf"), "moof/traf", at("moof", "traf"), "size 0"},
		{"child larger than its parent", p(0, u32s(1<<20), "moof", "traf"), "moof/traf", at("moof", "traf"), "its container has"},
		{"trun larger than its traf", p(0, u32s(0x7fff_ffff), trun...), "moof/traf/trun", at(trun...), "its container has"},

		{"no moov", append(bytes.Clone(in[:28]), in[moovEnd:]...), "moof", 28, "before any moov"},
		{"moof before moov", append(bytes.Clone(in[moovEnd:]), in[:moovEnd]...), "moof", 0, "before any moov"},
		{"mdat first", mk("mdat", []byte("x")), "mdat", 0, "before any moov"},
		{"not MP4: HTML", []byte("<!doctype html><html><body>"), "ctyp", 0, "over the limit"},
		{"not MP4: JPEG", []byte{0, 0, 0x10, 0xe0, 0, 0x10, 'J', 'F', 'I', 'F'}, "0x00104a46", 0, "not a box type"},
		{"progressive", fixture(t, "progressive.mp4"), "moov/trak/mdia/minf/stbl/stsz", -1, "samples outside any fragment"},
		{"moof over its limit", p(0, u32s(1<<20+1), "moof"), "moof", at("moof"), "over the limit of 1048576"},
		{"mdat over its limit", p(0, u32s(64<<20+1), "mdat"), "mdat", at("mdat"), "over the limit of 67108864"},

		{"10 000 tracks", traks(10_000, 8), "moov/trak", 16 + 8 + 108 + 64*8, "track 65, at most 64"},
		{"10 000 tracks of 600 bytes", traks(10_000, 600), "moov/trak", 16 + 8 + 108 + 64*600, "track 65, at most 64"},
		{"a trak of nothing", traks(1, 8), "moov/trak", 16 + 8 + 108, "has no tkhd"},
		{"moov over its limit", append(mk("ftyp"), mk("moov", mk("udta", make([]byte, 5<<20)))...), "moov", 8, "over the limit of 4194304"},
		{"no mvhd", remove(t, in, "moov", "mvhd"), "moov", at("moov"), "no mvhd"},
		{"no trak", mk("moov", mk("mvhd", u32s(0, 0, 0, 1000), make([]byte, 84))), "moov", 0, "no trak"},
		{"timescale 0", p(20, u32s(0), "moov", "trak", "mdia", "mdhd"), "moov/trak/mdia/mdhd", at("moov", "trak", "mdia", "mdhd"), "timescale is 0"},
		{"no mdhd", remove(t, in, "moov", "trak", "mdia", "mdhd"), "moov/trak/mdia", -1, "no mdhd"},
		{"no hdlr", remove(t, in, "moov", "trak", "mdia", "hdlr"), "moov/trak/mdia", -1, "no hdlr"},
		{"no minf", remove(t, in, "moov", "trak", "mdia", "minf"), "moov/trak/mdia", -1, "no minf"},
		{"no stbl", remove(t, in, "moov", "trak", "mdia", "minf", "stbl"), "moov/trak/mdia/minf", -1, "no stbl"},
		{"no stsd", remove(t, in, "moov", "trak", "mdia", "minf", "stbl", "stsd"), "moov/trak/mdia/minf/stbl", -1, "no stsd"},
		{"no sample entry", remove(t, in, entry...), strings.Join(entry[:6], "/"), -1, "no sample entry"},
		{"a track ID twice", patch(t, in, 20, u32s(2), "moov", "trak", "tkhd"), "moov/trak", -1, "has track ID 2, and so has"},
		{"track ID 0", patch(t, in, 20, u32s(0), "moov", "trak", "tkhd"), "moov/trak/tkhd", at("moov", "trak", "tkhd"), "track ID is 0"},
		{"only metadata tracks", bytes.ReplaceAll(bytes.ReplaceAll(in, []byte("vide"), []byte("meta")), []byte("soun"), []byte("meta")), "moov", at("moov"), "no video or audio"},
		{"unknown codec", p(4, []byte("xyz1"), entry...), strings.Join(entry[:6], "/") + "/xyz1", at(entry...), "codec xyz1"},
		{"audio codec in a video track", p(4, []byte("mp4a"), entry...), strings.Join(entry[:6], "/") + "/mp4a", at(entry...), "handler vide"},
		{"no avcC", p(4, []byte("free"), avcC...), strings.Join(entry, "/"), at(entry...), "no avcC"},
		{"avcC cut", p(8+6, []byte{0xff, 0xff}, avcC...), strings.Join(avcC, "/"), at(avcC...), "ends inside SPS 1"},
		{"not an SPS", p(8+8, []byte{0x68}, avcC...), strings.Join(avcC, "/"), at(avcC...), "not a sequence parameter set"},
		{"SPS of zeros", p(8+8+4, make([]byte, 16), avcC...), strings.Join(avcC, "/"), at(avcC...), "SPS"},

		{"unknown track", p(12, u32s(9), "moof", "traf", "tfhd"), "moof/traf/tfhd", at("moof", "traf", "tfhd"), "track 9"},
		{"no tfhd", p(4, []byte("free"), "moof", "traf", "tfhd"), "moof/traf", at("moof", "traf"), "no tfhd"},
		{"tfhd cut", p(9, []byte{0, 0, 0x3b}, "moof", "traf", "tfhd"), "moof/traf/tfhd", at("moof", "traf", "tfhd"), "bytes of content, needs"},
		{"decode time beyond limits", p(12, u64(math.MaxUint64), "moof", "traf", "tfdt"), "moof/traf/tfdt", at("moof", "traf", "tfdt"), "beyond any limit"},
		{"2^32-1 samples", p(12, u32s(math.MaxUint32), trun...), "moof/traf/trun", at(trun...), "counts 4294967295 samples"},
		{"2^32-1 samples without a byte each", p(8, u32s(1, math.MaxUint32), trun...), "moof/traf/trun", at(trun...), "to 4294967295 samples, at most 131072"},
		{"more samples of 1 GB than the limit", mkDefault(t, video, 1<<30), "moof/traf/trun", -1, "of 1073741824 bytes each"},
		{"negative data offset", p(16, u32s(0xffff_ff00), trun...), "moof/traf/trun", at(trun...), "before its moof ends"},
		{"data offset in the mdat's header", p(16, u32s(uint32(at("mdat")-at("moof"))), trun...), "moof/traf/trun", at(trun...), "the mdat has"},
		{"data offset beyond the mdat", p(16, u32s(1<<30), trun...), "moof/traf/trun", at(trun...), "which no mdat brought"},
		{"sample size beyond the mdat", patch(t, video, 24, u32s(1<<30), trun...), "moof/traf/trun", vat, "the mdat has"},
		{"sample size 2^32-1", patch(t, video, 24, u32s(math.MaxUint32), trun...), "moof/traf/trun", vat, "the mdat has"},
		{"sample size over the next track's", p(24, u32s(1<<30), trun...), "moof/traf/trun", -1, "overlap those of the trun at byte"},
		{"second moof where an mdat should be", append(bytes.Clone(in[:at("mdat")]), in[at("moof"):]...), "moof/traf/trun", at(trun...), "which no mdat brought"},
		{"runs over one another", overlap(t, in), "moof/traf/trun", -1, "overlap"},

		{"emsg of no length", append(bytes.Clone(in[:moovEnd]), mk("emsg")...), "emsg", int64(moovEnd), "0 bytes of content"},
		{"emsg without end of string", append(bytes.Clone(in[:moovEnd]), mk("emsg", u32s(0), make([]byte, 0), []byte("urn"))...), "emsg", int64(moovEnd), "string"},
		{"prft of no length", append(bytes.Clone(in[:moovEnd]), mk("prft", u32s(0))...), "prft", int64(moovEnd), "bytes of content"},
		{"65 emsg", append(bytes.Clone(in[:moovEnd]), bytes.Repeat(mk("emsg", u32s(1<<24, 1), u64(1), u32s(1, 1), []byte("a\x00\x00")), 65)...), "emsg", -1, "65th"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, piece := range []int{0, 5, 1000} {
				_, err := demux(tt.in, piece, DemuxerConfig{})
				checkBoxError(t, err, tt.box, tt.off, tt.reason)
			}
		})
	}
}

// mkDefault returns a file whose trun leaves size to trex.
func mkDefault(t *testing.T, video []byte, size uint32) []byte {
	_, end := find(t, video, "moov")
	in := patch(t, video[:end], 24, u32s(size), "moov", "mvex", "trex")
	return append(in, mk("moof", mk("traf", mk("tfhd", u32s(0x020000, 1)), mk("trun", u32s(1, 2, 68))))...)
}

// overlap gives the first moof's second traf the data offset of its first.
func overlap(t *testing.T, in []byte) []byte {
	from, to := find(t, in, "moof", "traf", "trun")
	second := from + bytes.Index(in[to:], []byte("trun")) + to - from - 4
	in = bytes.Clone(in)
	copy(in[second+16:second+20], in[from+16:from+20])
	return in
}

// However early the input ends, what came whole is handed on, and the error
// says so.
func TestDemuxerTruncated(t *testing.T) {
	for _, name := range []string{"keyframe.mp4", "everyframe.mp4"} {
		in := fixture(t, name)
		want := oracle(t, in)
		clean := 0
		for n := 0; n < len(in); n += 7 {
			b, err := demux(in[:n], 0, DemuxerConfig{})
			if err != nil {
				be, ok := errors.AsType[*BoxError](err)
				if !ok || be.Offset > int64(n) {
					t.Fatalf("%s, %d bytes: %v", name, n, err)
				}
				if !errors.Is(err, io.ErrUnexpectedEOF) && be.Box != "moof/traf/trun" { // the moof is whole, its mdat has not begun
					t.Fatalf("%s, %d bytes: %v does not wrap io.ErrUnexpectedEOF", name, n, err)
				}
			} else {
				clean++
			}
			for i, tr := range b.tracks {
				got := flatten(tr.chunks)
				checkSamples(t, tr, want[uint32(i+1)][:len(got)])
				if tr.closed != 1 {
					t.Fatalf("%s, %d bytes: closed %d times", name, n, tr.closed)
				}
			}
		}
		if clean == 0 {
			t.Error("no prefix was clean")
		}
	}
}
