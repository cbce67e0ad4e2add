package client

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
)

func box(typ, data string) string {
	return string([]byte{0, 0, 0, byte(8 + len(data))}) + typ + data
}

func TestCheckChunk(t *testing.T) {
	for _, tt := range []struct {
		name, data string
		header, ok bool
	}{
		{"a header", box("ftyp", "x") + box("moov", "x"), true, true},
		{"a moov alone", box("moov", ""), true, true},
		{"a fragment", box("styp", "") + box("moof", "x") + box("mdat", "y"), false, true},
		{"two fragments", box("moof", "") + box("mdat", "") + box("moof", "") + box("mdat", ""), false, true},
		{"a large size", "\x00\x00\x00\x01mdat\x00\x00\x00\x00\x00\x00\x00\x11x", false, true},
		{"nothing", "", false, false},
		{"both", box("moov", "") + box("mdat", ""), false, false},
		{"neither", box("ftyp", ""), false, false},
		{"cut", box("mdat", "abc")[:10], false, false},
		{"a rest", box("mdat", "abc") + "\x00", false, false},
		{"to the end of the file", "\x00\x00\x00\x00mdat", false, false},
		{"too small", "\x00\x00\x00\x07mdat", false, false},
		{"a huge size", "\x00\x00\x00\x01mdat\xff\xff\xff\xff\xff\xff\xff\xff", false, false},
		{"a short large size", "\x00\x00\x00\x01mdat\x00\x00", false, false},
	} {
		header, err := checkChunk([]byte(tt.data))
		if header != tt.header || (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrChunk) {
			t.Errorf("%s: header %t, %v", tt.name, header, err)
		}
	}
}

func TestReadChunk(t *testing.T) {
	pieces := []string{box("ftyp", "a") + box("moov", "b"), box("styp", "c") + box("moof", "d") + box("mdat", "e"), box("moof", "f") + box("mdat", "")}
	r := bufio.NewReaderSize(iotest.OneByteReader(strings.NewReader(strings.Join(pieces, "")+box("mfra", "z"))), 16)
	for _, want := range pieces {
		if got, err := readChunk(r); string(got) != want || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	if got, err := readChunk(r); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %q, %v", got, err)
	}
	for _, cut := range []string{"\x00\x00", box("mdat", "abc")[:9], "\x00\x00\x00\x01mdat\x00"} {
		if _, err := readChunk(bufio.NewReader(strings.NewReader(cut))); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q: %v", cut, err)
		}
	}
	if _, err := readChunk(bufio.NewReader(strings.NewReader("\x7f\x00\x00\x00mdat"))); !errors.Is(err, ErrChunk) {
		t.Errorf("a huge box: %v", err)
	}
}

// What readChunk cuts off is what checkChunk takes, and no byte is lost.
func FuzzChunk(f *testing.F) {
	f.Add([]byte(box("ftyp", "a") + box("moov", "b") + box("moof", "d") + box("mdat", "e")))
	f.Add([]byte("\x00\x00\x00\x01mdat\x00\x00\x00\x00\x00\x00\x00\x11x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, at := bufio.NewReader(bytes.NewReader(b)), 0
		for {
			c, err := readChunk(r)
			if err != nil {
				break
			}
			if _, err := checkChunk(c); err != nil {
				t.Fatalf("%q: %v", c, err)
			}
			if !bytes.HasPrefix(b[at:], c) {
				t.Fatalf("%q is not what comes at %d", c, at)
			}
			at += len(c)
		}
		checkChunk(b)
	})
}

// Whole files of every kind go through, and what is no chunk is refused without
// an end to the publisher.
func TestReadFrom(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for _, name := range []string{"video.mp4", "audio.mp4", "tracks.mp4", "hevc.mp4", "opus.mp4"} {
			p := w.open("good")
			data, err := os.ReadFile(filepath.Join("..", "cmaf", "testdata", name))
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Write([]byte(box("moof", "") + box("mdat", ""))); !errors.Is(err, ErrChunk) {
				t.Errorf("%s: a fragment before the header: %v", name, err)
			}
			if n, err := p.ReadFrom(bytes.NewReader(data)); err != nil || n < int64(len(data))*9/10 {
				t.Errorf("%s: %d of %d bytes, %v", name, n, len(data), err)
			}
			if err := p.Write([]byte("no box at all")); !errors.Is(err, ErrChunk) {
				t.Errorf("%s: %v", name, err)
			}
			if l, ok := p.out.track.Largest(); !ok || l.Object == 0 {
				t.Errorf("%s: the track has %v", name, l)
			}
			p.Close(Finished)
			synctest.Wait()
		}
	})
}
