package viewer

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/broadcastd/broadcastd/cmaf"
)

// mp4Box returns a box with n bytes of content.
func mp4Box(typ string, n int) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(8+n))
	return append(append(b, typ...), bytes.Repeat([]byte{typ[0]}, n)...)
}

func boxes(types ...string) (b []byte) {
	for _, typ := range types {
		b = append(b, mp4Box(typ, len(typ))...)
	}
	return b
}

// framed writes b in pieces of size, and describes the units: the types of
// their boxes.
func framed(b []byte, size int) (out string, err error) {
	var f framer
	for len(b) > 0 {
		n := min(size, len(b))
		units, err := f.write(b[:n:n])
		b = b[n:]
		for _, u := range units {
			out += "|"
			if u.init {
				out += "init:"
			}
			for rest := u.data; len(rest) > 0; {
				typ, size, err := boxAt(rest)
				if err != nil {
					return out, err
				}
				out += " " + string(typ[:])
				rest = rest[size:]
			}
		}
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

func TestFramer(t *testing.T) {
	for _, tt := range []struct {
		name  string
		in    []byte
		want  string
		fault string
	}{
		{"a whole stream", boxes("ftyp", "moov", "moof", "mdat", "moof", "mdat"), "|init: ftyp moov| moof mdat| moof mdat", ""},
		{"what stands ahead", boxes("ftyp", "free", "moov", "styp", "sidx", "prft", "emsg", "moof", "mdat"), "|init: ftyp free moov| styp sidx prft emsg moof mdat", ""},
		{"an ftyp without moov", boxes("ftyp", "moov", "ftyp", "moof", "mdat"), "|init: ftyp moov| moof mdat", ""},
		{"a moof without mdat", boxes("moof", "ftyp", "moov"), "|init: ftyp moov", ""},
		{"two mdats", boxes("moof", "mdat", "mdat"), "| moof mdat| mdat", ""},
		{"a moov alone", boxes("moov", "moof", "mdat"), "|init: moov| moof mdat", ""},
		{"not whole", boxes("ftyp", "moov", "moof", "mdat")[:47], "|init: ftyp moov", ""},
		{"large sizes", append([]byte("\x00\x00\x00\x01moof\x00\x00\x00\x00\x00\x00\x00\x10"), boxes("mdat")...), "| moof mdat", ""},
		{"no box", append(boxes("moof"), "\x00\x00\x00\x10\x01\x02\x03\x04"...), "", "is no box type"},
		{"a size that cannot be", append(boxes("moof"), "\x00\x00\x00\x07mdat"...), "", "size of 7 bytes"},
		{"to the end", append(boxes("moof"), "\x00\x00\x00\x00mdat"...), "", "end of the stream"},
		{"too large", append(boxes("moof"), "\x7f\x00\x00\x00mdat"...), "", "more than 67108864 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, size := range []int{1, 3, 8, 12, 1 << 20} {
				got, err := framed(tt.in, size)
				fault := ""
				if err != nil {
					fault = err.Error()
				}
				if got != tt.want || !strings.Contains(fault, tt.fault) || (fault == "") != (tt.fault == "") {
					t.Errorf("in pieces of %d: %q, %v; want %q, %q", size, got, err, tt.want, tt.fault)
				}
			}
		})
	}
}

// A stream is entered where a piece starts with a box.
func TestFramerEntersAtABox(t *testing.T) {
	var f framer
	for _, tt := range []struct {
		in   []byte
		want int // units
	}{
		{[]byte("the middle of an mdat"), 0},
		{boxes("mdat"), 0}, // whose moof is missing
		{boxes("moof", "mdat"), 1},
		{boxes("mdat"), 1}, // now it is one of several
	} {
		units, err := f.write(tt.in)
		if len(units) != tt.want || err != nil {
			t.Errorf("%q: %d units, %v; want %d", tt.in, len(units), err, tt.want)
		}
	}
}

// A fragment that comes in many pieces is not copied for each of them.
func TestFramerGrows(t *testing.T) {
	var f framer
	f.write(mp4Box("moof", 100))
	b := mp4Box("mdat", 1<<20)
	pieces := 0
	n := testing.AllocsPerRun(1, func() {
		pieces = 0
		f.reset()
		f.write(mp4Box("moof", 100))
		for rest := b; len(rest) > 0; pieces++ {
			k := min(1000, len(rest))
			f.write(rest[:k:k])
			rest = rest[k:]
		}
	})
	if n > 60 || pieces < 1000 {
		t.Errorf("%v allocations for %d pieces", n, pieces)
	}
}

func FuzzFramer(f *testing.F) {
	f.Add(boxes("ftyp", "moov", "moof", "mdat", "styp", "moof", "mdat"), uint16(5))
	f.Add(append([]byte("\x00\x00\x00\x01moof\x00\x00\x00\x00\x00\x00\x00\x10"), boxes("mdat", "moov")...), uint16(9))
	for _, name := range []string{"keyframe.mp4", "cmaf.mp4"} {
		b, err := os.ReadFile(filepath.Join("..", "cmaf", "testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint16(1000))
	}
	f.Fuzz(func(t *testing.T, b []byte, size uint16) {
		if len(b) < 8 || !strings.Contains(strings.Join(firstBoxes, " "), string(b[4:8])) || binary.BigEndian.Uint32(b) == 0 {
			return // it is not a box that a stream begins with
		}
		want, fault := framed(b, len(b))
		got, err := framed(b, int(size)+1)
		if got != want || (err == nil) != (fault == nil) {
			t.Fatalf("in pieces of %d: %q, %v; whole: %q, %v", int(size)+1, got, err, want, fault)
		}
		if again := fmt.Sprint(fault); err != nil && err.Error() != again {
			t.Fatalf("%v; whole: %v", err, fault)
		}
	})
}

// FuzzSplits cuts a stream into objects anywhere: what is demuxed from the
// units is what is in the stream.
func FuzzSplits(f *testing.F) {
	data, err := os.ReadFile(filepath.Join("..", "cmaf", "testdata", "keyframe.mp4"))
	if err != nil {
		f.Fatal(err)
	}
	demux := func(t *testing.T, pieces ...[]byte) string {
		c := &capture{}
		d := cmaf.NewDemuxer(c, cmaf.DemuxerConfig{})
		for _, p := range pieces {
			if _, err := d.Write(p); err != nil {
				t.Fatal(err)
			}
		}
		return c.take()
	}
	f.Add([]byte{1, 8, 255, 0})
	f.Add([]byte{23})
	f.Fuzz(func(t *testing.T, cuts []byte) {
		var fr framer
		var pieces [][]byte
		for i, rest := 0, data; len(rest) > 0; i++ {
			n := 1 << 12
			if i < len(cuts) {
				n = 1 + int(cuts[i])*int(cuts[i])/8
			}
			n = min(n, len(rest))
			units, err := fr.write(rest[:n:n])
			if err != nil {
				t.Fatal(err)
			}
			for _, u := range units {
				pieces = append(pieces, u.data)
			}
			rest = rest[n:]
		}
		if got, want := demux(t, pieces...), demux(t, data); got != want {
			t.Errorf("cut by %v: %d bytes of notes, want %d", cuts, len(got), len(want))
		}
	})
}
