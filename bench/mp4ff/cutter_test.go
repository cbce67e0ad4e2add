package mp4ff

import (
	"bytes"
	"testing"

	"github.com/broadcastd/broadcastd/cmaf"
)

// TestCut compares with what our own reader finds in the chunks.
func TestCut(t *testing.T) {
	frag := cmaf.Chunk{DecodeTime: 9000, RAP: true}
	for i, size := range []int{500, 20, 1} {
		flags := cmaf.FlagsNonSync
		if i == 0 {
			flags = cmaf.FlagsSync
		}
		frag.Samples = append(frag.Samples, cmaf.Sample{Duration: 3000, Size: uint32(size), Flags: flags})
		frag.Data = append(frag.Data, bytes.Repeat([]byte{byte(i + 1)}, size)...)
	}
	var c Cutter
	for range 2 { // a second call begins anew
		if err := c.Cut(frag.AppendTo(nil, 1, 1)); err != nil {
			t.Fatal(err)
		}
	}
	data, n := c.Chunks()
	chunks, err := cmaf.SplitChunks(data)
	if err != nil || len(chunks) != 3 || n != 3 {
		t.Fatalf("%d chunks, %d counted, %v, want 3", len(chunks), n, err)
	}
	var all []byte
	for i, b := range chunks {
		ch, err := cmaf.ParseChunk(b)
		if err != nil {
			t.Fatal(err)
		}
		if len(ch.Samples) != 1 || ch.DecodeTime != 9000+3000*int64(i) || ch.Samples[0].Duration != 3000 {
			t.Errorf("chunk %d = %+v", i, ch)
		}
		all = append(all, ch.Data...)
	}
	if !bytes.Equal(all, frag.Data) {
		t.Error("the samples differ from those that went in")
	}
}

func TestCutFaults(t *testing.T) {
	whole := cmaf.Chunk{Samples: []cmaf.Sample{{Duration: 1, Size: 1}}, Data: []byte{1}}.AppendTo(nil, 1, 1)
	for _, b := range [][]byte{nil, whole[:len(whole)-5], append(bytes.Clone(whole), whole...)} {
		if err := new(Cutter).Cut(b); err == nil {
			t.Errorf("Cut took %d bytes that are no fragment", len(b))
		}
	}
}
