package pull

import (
	"os"
	"testing"

	"github.com/broadcastd/broadcastd/cmaf"
)

// audioHeader returns the header of the clip's audio with a timescale of
// 50 Hz, in which a frame of the chunks below is one tick.
func audioHeader(t testing.TB) cmaf.Header {
	t.Helper()
	b, err := os.ReadFile("testdata/fmp4/init.mp4")
	if err != nil {
		t.Fatal(err)
	}
	seg, err := os.ReadFile("testdata/fmp4/index0.m4s")
	if err != nil {
		t.Fatal(err)
	}
	c := &capture{}
	d := cmaf.NewDemuxer(c, cmaf.DemuxerConfig{})
	if _, err := d.Write(append(b, seg...)); err != nil {
		t.Fatal(err)
	}
	h := c.track(t, "audio").header
	h.Timescale = 50
	return h
}

func audioChunk(n int64) cmaf.Chunk {
	return cmaf.Chunk{DecodeTime: n, Samples: []cmaf.Sample{{Duration: 1, Size: 1, Flags: cmaf.FlagsSync}}, Data: []byte{0}, RAP: true}
}
