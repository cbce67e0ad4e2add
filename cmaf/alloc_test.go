//go:build !race

package cmaf

import "testing"

// The moof writer allocates nothing beyond its destination.
func TestAppendAllocs(t *testing.T) {
	c := threePictures()
	b := make([]byte, 0, c.Size())
	if n := testing.AllocsPerRun(100, func() { b = c.AppendTo(b[:0], 1, 1) }); n != 0 {
		t.Errorf("AppendTo allocates %v times, want 0", n)
	}
	if n := testing.AllocsPerRun(100, func() { b = c.AppendMoof(b[:0], 1, 1) }); n != 0 {
		t.Errorf("AppendMoof allocates %v times, want 0", n)
	}
	if n := testing.AllocsPerRun(100, func() { b = Prft{}.Append(b[:0]) }); n != 0 {
		t.Errorf("Prft.Append allocates %v times, want 0", n)
	}
}

// Reading costs one allocation a sample, its bytes, and little besides.
func TestDemuxerAllocs(t *testing.T) {
	h := header(t, "video.mp4", "video")
	const samples = 100
	var frag []byte
	c := Chunk{Samples: []Sample{{Duration: 512, Size: 1000, Flags: FlagsSync}}, Data: make([]byte, 1000)}
	for range samples {
		frag = c.AppendTo(frag, 1, 1)
	}
	d := NewDemuxer(discard{}, DemuxerConfig{})
	if _, err := d.Write(append(h.Init, frag...)); err != nil {
		t.Fatal(err)
	}
	n := testing.AllocsPerRun(20, func() {
		if _, err := d.Write(frag); err != nil {
			t.Fatal(err)
		}
	})
	if perSample := n / samples; perSample > 1.1 {
		t.Errorf("%.2f allocations a sample, want at most 1.1", perSample)
	}
}

// ParseChunk costs one allocation for the samples and few for the list.
func TestParseChunkAllocs(t *testing.T) {
	b := threePictures().AppendTo(nil, 1, 1)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := ParseChunk(b); err != nil {
			t.Fatal(err)
		}
	}); n > 6 {
		t.Errorf("ParseChunk allocates %v times, want at most 6", n)
	}
}
