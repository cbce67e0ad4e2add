//go:build !race

package rtmp

import (
	"bufio"
	"bytes"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/bluenviron/gortmplib/pkg/bytecounter"
	"github.com/bluenviron/gortmplib/pkg/rawmessage"

	"github.com/broadcastd/broadcastd/cmaf"
)

// discard is a Broadcast that keeps nothing.
type discard struct{}

func (discard) AddTrack(string, cmaf.Header) (cmaf.Sink, error) { return discard{}, nil }
func (discard) Event(cmaf.Event) error                          { return nil }
func (discard) Discontinuity(string)                            {}
func (discard) Anchor(cmaf.Time, time.Time)                     {}
func (discard) WriteChunk(cmaf.Chunk) error                     { return nil }
func (discard) Close() error                                    { return nil }

// closing is discard with Broadcast's Close.
type closing struct{ discard }

func (closing) Close(error) error { return nil }

// wire returns frames of H.264 and AAC as an encoder sends them.
func wire(t testing.TB, frames int) []byte {
	t.Helper()
	var b bytes.Buffer
	w := rawmessage.NewWriter(&b, bytecounter.NewWriter(io.Discard), false)
	send := func(typ uint8, at int, body []byte) {
		t.Helper()
		m := &rawmessage.Message{ChunkStreamID: 4 + typ&1, Timestamp: time.Duration(at) * time.Millisecond, Type: typ, MessageStreamID: 1 << 24, Body: body}
		if err := w.Write(m); err != nil {
			t.Fatal(err)
		}
	}
	send(typeVideo, 0, unhex(t, "1700000000"+avcConfig))
	send(typeAudio, 0, unhex(t, "af001190"))
	picture := append(unhex(t, "2701000000 00003fff 41"), make([]byte, 1<<14)...)
	for i := range frames {
		picture[0] = 0x27
		if i%30 == 0 {
			picture[0] = 0x17
		}
		send(typeVideo, i*40, picture)
		send(typeAudio, i*40, append(unhex(t, "af01"), make([]byte, 200)...))
	}
	return b.Bytes()
}

// read reads all of it.
func read(t testing.TB, b []byte) {
	t.Helper()
	r := newChunkReader(bufio.NewReaderSize(bytes.NewReader(b), readBuffer))
	d := &demuxer{b: closing{}, maxGroup: 1 << 30, log: slog.New(slog.DiscardHandler)}
	for {
		m, err := r.next()
		if err == io.EOF {
			return
		}
		if err == nil {
			_, err = d.message(m)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A frame costs the room for its bytes, which are handed on as they are.
func TestAllocs(t *testing.T) {
	const frames = 2500
	b := wire(t, frames)
	got := testing.AllocsPerRun(5, func() { read(t, b) }) / (2 * frames)
	if got > 1.1 {
		t.Errorf("%.2f allocations a frame, want one and the samples' share", got)
	}
}

func BenchmarkRead(b *testing.B) {
	const frames = 2500
	media := wire(b, frames)
	b.SetBytes(int64(len(media)))
	for b.Loop() {
		read(b, media)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*2*frames), "ns/frame")
}
