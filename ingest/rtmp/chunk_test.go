package rtmp

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/bluenviron/gortmplib/pkg/bytecounter"
	"github.com/bluenviron/gortmplib/pkg/rawmessage"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func readAll(r *chunkReader) (list []message, err error) {
	for {
		m, err := r.next()
		if err != nil {
			return list, err
		}
		if m.typ == typeSetChunkSize || m.typ == typeAbort {
			if err := r.control(m); err != nil {
				return list, err
			}
			continue
		}
		list = append(list, m)
	}
}

func TestChunks(t *testing.T) {
	const full = "04 000010 000001 08 01000000 aa" // type 0: 16 ms, one byte of audio
	long := "04 000000 0000ff 09 01000000" + strings.Repeat("01", 128)
	ext := "04 ffffff 000081 09 01000000 01000000" + strings.Repeat("02", 128)
	for _, tt := range []struct {
		name, hex string
		times     []uint32
		sizes     []int
		err       error
	}{
		{"type 0", full, []uint32{16}, []int{1}, io.EOF},
		{"types 1, 2 and 3", full + "44 000017 000002 08 aabb" + "84 000005 ccdd" + "c4 eeff", []uint32{16, 39, 44, 49}, []int{1, 2, 2, 2}, io.EOF},
		{"type 3 after type 0 repeats its time", full + "c4 bb", []uint32{16, 32}, []int{1, 1}, io.EOF},
		{"a delta over the wrap", "04 ffffff 000001 08 01000000 fffffff0 aa" + "44 000020 000001 08 bb", []uint32{0xfffffff0, 0x10}, []int{1, 1}, io.EOF},
		{"a message in chunks", long + "c4" + strings.Repeat("01", 127), []uint32{0}, []int{255}, io.EOF},
		{"two messages interleaved", long + full[:0] + "05 000000 000001 08 01000000 aa" + "c4" + strings.Repeat("01", 127), []uint32{0, 0}, []int{1, 255}, io.EOF},
		{"extended timestamp, repeated", ext + "c4 01000000 bb", []uint32{1 << 24}, []int{129}, io.EOF},
		{"extended timestamp, left out", ext + "c4 bb" + "04 000000 000004 08 01000000 aabbccdd", []uint32{1 << 24, 0}, []int{129, 4}, io.EOF},
		{"stream ids of two and three bytes", "00 05 000000 000001 08 01000000 aa" + "01 0501 000000 000001 08 01000000 aa", []uint32{0, 0}, []int{1, 1}, io.EOF},
		{"abort", long + "02 000000 000004 02 00000000 00000004" + full, []uint32{16}, []int{1}, io.EOF},
		{"larger chunks", "02 000000 000004 01 00000000 00000200" + long + strings.Repeat("01", 127), []uint32{0}, []int{255}, io.EOF},
		{"chunk size 0", "02 000000 000004 01 00000000 00000000", nil, nil, errProtocol},
		{"chunk size 1", "02 000000 000004 01 00000000 00000001", nil, nil, errProtocol},
		{"chunk size with its top bit", "02 000000 000004 01 00000000 80000080", nil, nil, errProtocol},
		{"starts with type 1", "44 000017 000002 08 aabb", nil, nil, errProtocol},
		{"starts with type 3", "c4 aa", nil, nil, errProtocol},
		{"a message within a message", long + "04 000000 000001 08 01000000 aa", nil, nil, errProtocol},
		{"too long", "04 000000 010001 09 01000000", nil, nil, errProtocol},
		{"ends in a header", full[:12], nil, nil, io.ErrUnexpectedEOF},
		{"ends in a chunk", long[:40], nil, nil, io.ErrUnexpectedEOF},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newChunkReader(bufio.NewReader(bytes.NewReader(unhex(t, tt.hex))))
			got, err := readAll(r)
			if !errors.Is(err, tt.err) || len(got) != len(tt.times) {
				t.Fatalf("%d messages, %v; want %d, %v", len(got), err, len(tt.times), tt.err)
			}
			for i, m := range got {
				if m.timestamp != tt.times[i] || len(m.body) != tt.sizes[i] {
					t.Errorf("message %d: %d ms, %d bytes; want %d, %d", i, m.timestamp, len(m.body), tt.times[i], tt.sizes[i])
				}
			}
			if tt.err == io.EOF && r.partial != 0 {
				t.Errorf("%d bytes are counted as unfinished", r.partial)
			}
		})
	}
}

// A peer cannot make us hold more than the bounds, however many chunk streams
// it begins.
func TestChunkBounds(t *testing.T) {
	r := newChunkReader(nil)
	r.limit = 4 << 20
	var b []byte
	for id := range 63 {
		b = append(b, byte(2+id%62), 0, 0, 0, 0x3f, 0xff, 0xff, 9, 1, 0, 0, 0)
		b = append(b, make([]byte, 128)...)
	}
	r.in = bufio.NewReader(bytes.NewReader(b))
	if _, err := readAll(r); !errors.Is(err, errProtocol) || r.partial > maxPartial {
		t.Errorf("unfinished messages of %d bytes: %v", r.partial, err)
	}
	b = nil
	for id := range maxChunkStreams + 1 {
		b = append(b, 0, byte(id), 0, 0, 0, 0, 0, 1, 8, 1, 0, 0, 0, 0xaa)
	}
	r = newChunkReader(bufio.NewReader(bytes.NewReader(b)))
	if got, err := readAll(r); !errors.Is(err, errProtocol) || len(got) != maxChunkStreams {
		t.Errorf("%d chunk streams: %v", len(got), err)
	}
}

// What gortmplib writes is read as it was.
func TestChunksOfGortmplib(t *testing.T) {
	var wire bytes.Buffer
	w := rawmessage.NewWriter(&wire, bytecounter.NewWriter(io.Discard), false)
	var want []message
	for i := range 400 {
		at := uint32(i) * 7919
		if i > 200 {
			at += 1<<24 - 3
		}
		m := message{typ: byte(8 + i%2), timestamp: at, body: bytes.Repeat([]byte{byte(i)}, i*i%3000)}
		want = append(want, m)
		err := w.Write(&rawmessage.Message{ChunkStreamID: byte(4 + i%3), Timestamp: time.Duration(at) * time.Millisecond, Type: m.typ, MessageStreamID: 1 << 24, Body: m.body})
		if err != nil {
			t.Fatal(err)
		}
	}
	got, err := readAll(newChunkReader(bufio.NewReader(&wire)))
	if err != io.EOF || len(got) != len(want) {
		t.Fatalf("%d messages, %v; want %d", len(got), err, len(want))
	}
	for i := range got {
		if got[i].typ != want[i].typ || got[i].timestamp != want[i].timestamp || !bytes.Equal(got[i].body, want[i].body) {
			t.Fatalf("message %d: type %d at %d of %d bytes, want %d at %d of %d", i, got[i].typ, got[i].timestamp, len(got[i].body),
				want[i].typ, want[i].timestamp, len(want[i].body))
		}
	}
}

func FuzzChunks(f *testing.F) {
	f.Add([]byte("\x04\x00\x00\x10\x00\x00\x01\x08\x01\x00\x00\x00\xaa"))
	f.Add([]byte("\x02\x00\x00\x00\x00\x00\x04\x01\x00\x00\x00\x00\x00\x00\x02\x00\xc2"))
	f.Add(binary.BigEndian.AppendUint32([]byte("\x04\xff\xff\xff\x00\x00\x81\x09\x01\x00\x00\x00"), 1<<24))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := newChunkReader(bufio.NewReader(bytes.NewReader(b)))
		list, err := readAll(r)
		if err == nil || r.partial > maxPartial || len(r.streams) > maxChunkStreams {
			t.Fatalf("%v, %d bytes unfinished, %d streams", err, r.partial, len(r.streams))
		}
		size := 0
		for _, m := range list {
			size += len(m.body)
		}
		if size > len(b) {
			t.Fatalf("%d bytes of messages out of %d", size, len(b))
		}
	})
}
