package cmaf

import (
	"bytes"
	"testing"
)

// What an encoder sends again after its connection broke is left out, also
// where a fragment broke off inside; nothing is lost and nothing jumps.
func TestRepeatedFragments(t *testing.T) {
	in := fixture(t, "cmaf.mp4")
	var starts []int // of moofs, and the end
	for off := 0; off < len(in); {
		h, _, err := parseBoxHeader(in[off:], "", int64(off))
		if err != nil {
			t.Fatal(err)
		}
		if h.typ == typeMoof {
			starts = append(starts, off)
		}
		off += int(h.size)
	}
	if len(starts) < 3 {
		t.Fatalf("%d fragments, want 3 or more", len(starts))
	}
	head, first, second := in[:starts[0]], in[starts[0]:starts[1]], in[starts[1]:starts[2]]
	rest := in[starts[2]:]
	for _, tt := range []struct {
		name   string
		bodies [][]byte
		again  bool // some samples come again
	}{
		{"in one", [][]byte{in}, false},
		{"none again", [][]byte{head, first, second, rest}, false},
		{"a fragment again", [][]byte{head, first, second, second, rest}, true},
		{"two again, with the header", [][]byte{head, first, second, head, first, second, rest}, true},
		{"a fragment that broke off", [][]byte{head, first, second[:len(second)-5], second, rest}, true},
		{"a fragment that broke off in the middle", [][]byte{head, first, second[:len(second)/2], second, rest}, true},
		{"broke off within the moof", [][]byte{head, first, second[:20], second, rest}, false},
		{"broke off, then broke off earlier", [][]byte{head, first, second[:len(second)-5], second[:len(second)/2], second, rest}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			again := 0
			var got capture
			d := NewDemuxer(&got, DemuxerConfig{Repeated: func(n int) { again += n }})
			for _, b := range tt.bodies {
				if _, err := d.Write(bytes.Clone(b)); err != nil {
					t.Fatal(err)
				}
				d.EndBody()
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			if (again > 0) != tt.again {
				t.Errorf("%d samples came again, want some: %t", again, tt.again)
			}
			if len(got.jumps) > 0 {
				t.Errorf("jumps: %v", got.jumps)
			}
			want := oracle(t, in)
			for i, tr := range got.tracks {
				checkSamples(t, tr, want[uint32(i+1)])
			}
		})
	}
}

// Without being told, media that comes again is media of its own: a playlist may
// show one segment twice.
func TestRepeatsAreMediaUnlessTold(t *testing.T) {
	in := fixture(t, "cmaf.mp4")
	var once, twice capture
	for b, n := range map[*capture]int{&once: 1, &twice: 2} {
		d := NewDemuxer(b, DemuxerConfig{})
		for range n {
			if _, err := d.Write(in); err != nil {
				t.Fatal(err)
			}
			if err := d.EndBody(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got, want := len(twice.tracks[0].chunks), 2*len(once.tracks[0].chunks); got != want {
		t.Errorf("%d chunks of two times the same, want %d", got, want)
	}
}

func TestRepeatsAreBounded(t *testing.T) {
	var r repeats
	for i := range 10 * maxSeen {
		if done := r.enter([]byte{byte(i), byte(i >> 8)}); done != 0 {
			t.Fatalf("fragment %d is known by %d samples", i, done)
		}
		r.leave(i)
	}
	if len(r.seen) != maxSeen {
		t.Errorf("%d fragments are remembered, want %d", len(r.seen), maxSeen)
	}
	if got := r.enter([]byte{639 & 255, 639 >> 8}); got != 639 {
		t.Errorf("of the last %d samples were handed on, want 639", got)
	}
}
