//go:build !race

package codec

import "testing"

// What a record of 64 KiB can cost is bounded, however it counts.
func TestHostileAllocs(t *testing.T) {
	units := append([]byte{1, 22: 1}, 0x20, 0x7f, 0xff) // an hvcC of 32767 empty units
	units = append(units, make([]byte, 2*32767)...)
	obus := []byte{0x81, 0, 12, 0} // an av1C of as many empty temporal delimiters
	for range 32767 {
		obus = append(obus, 0x12, 0)
	}
	sets := &bitWriter{} // an SPS of 64 sets of 32 pictures, each predicted from the one before
	sets.bits(0, 8)
	for range 12 {
		sets.bits(1, 8)
	}
	sets.ue(0, 1, 640, 360)
	sets.bits(0, 1)
	sets.ue(0, 0, 4)
	sets.bits(0, 1)
	sets.ue(4, 2, 5, 0, 3, 0, 3, 0, 0)
	sets.bits(0, 4)
	sets.ue(64, 16, 16)
	for range 32 {
		sets.ue(9)
		sets.bits(1, 1)
	}
	for i := range uint32(63) {
		sets.bits(0b10|i&1, 2) // by 1 up and by 1 down
		sets.ue(0)
		for range 32 {
			sets.bits(0b01, 2)
		}
		sets.bits(0, 2) // without the one that it is predicted by
	}
	sets.bits(0, 4) // no long-term pictures, no VUI
	if v, err := HEVC("hvc1", hvcC(sets.nal(0x42, 1))); err != nil || v.Width != 640 {
		t.Fatalf("64 sets: %+v, %v", v, err)
	}
	for _, tt := range []struct {
		name string
		most float64
		read func()
	}{
		{"hvcC", 8, func() { _, _ = HEVC("hev1", units) }},
		{"av1C", 8, func() { _, _ = AV1(obus) }},
		{"reference sets", 1500, func() { _, _ = HEVC("hvc1", hvcC(sets.nal(0x42, 1))) }},
		{"key frame of HEVC", 0, func() { hevcKeyFrame(units[26:], 2) }},
		{"key frame of AV1", 0, func() { av1KeyFrame(obus[4:]) }},
	} {
		if n := testing.AllocsPerRun(10, tt.read); n > tt.most {
			t.Errorf("%s: %v allocations, want at most %v", tt.name, n, tt.most)
		}
	}
}
