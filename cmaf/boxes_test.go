package cmaf

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// mk makes a box.
func mk(typ string, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	b := binary.BigEndian.AppendUint32(nil, uint32(8+len(body)))
	return append(append(b, typ...), body...)
}

// u32s returns the numbers as bytes.
func u32s(v ...uint32) []byte {
	var b []byte
	for _, n := range v {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return b
}

func u64(v uint64) []byte { return binary.BigEndian.AppendUint64(nil, v) }

// find returns where the box at path starts and ends in b; each element takes
// the first child of that type.
func find(t testing.TB, b []byte, path ...string) (from, to int) {
	t.Helper()
	to = len(b)
	for i, typ := range path {
		for {
			if from+8 > to {
				t.Fatalf("no box %v", path[:i+1])
			}
			end := from + int(binary.BigEndian.Uint32(b[from:]))
			if string(b[from+4:from+8]) == typ {
				to = end
				break
			}
			from = end
		}
		if i < len(path)-1 {
			from += 8
			switch typ {
			case "stsd":
				from += 8
			case "avc1", "hvc1", "hev1", "av01":
				from += visualEntrySize
			case "mp4a", "Opus", "fLaC":
				from += audioEntrySize
			}
		}
	}
	return from, to
}

// patch returns a copy of b with bytes in place of those at path's box start
// plus off.
func patch(t testing.TB, b []byte, off int, with []byte, path ...string) []byte {
	t.Helper()
	at, _ := find(t, b, path...)
	b = bytes.Clone(b)
	copy(b[at+off:], with)
	return b
}

// insert returns b with box put at the end of the container at path.
func insert(t testing.TB, b, box []byte, path ...string) []byte {
	t.Helper()
	_, at := find(t, b, path...)
	b = append(append(bytes.Clone(b[:at]), box...), b[at:]...)
	for i := range path {
		from, _ := find(t, b, path[:i+1]...)
		binary.BigEndian.PutUint32(b[from:], binary.BigEndian.Uint32(b[from:])+uint32(len(box)))
	}
	return b
}

// remove returns b without the box at path.
func remove(t testing.TB, b []byte, path ...string) []byte {
	t.Helper()
	from, to := find(t, b, path...)
	b = append(bytes.Clone(b[:from]), b[to:]...)
	for i := range path[:len(path)-1] {
		at, _ := find(t, b, path[:i+1]...)
		binary.BigEndian.PutUint32(b[at:], binary.BigEndian.Uint32(b[at:])-uint32(to-from))
	}
	return b
}

// header returns the header of the named fixture's track.
func header(t testing.TB, file, track string) Header {
	t.Helper()
	c, err := demux(fixture(t, file), 0, DemuxerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return c.track(t, track).header
}
