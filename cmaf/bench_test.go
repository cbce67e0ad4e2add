package cmaf

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/Eyevinn/mp4ff/mp4"
)

// discard is a Broadcast that keeps nothing.
type discard struct{}

type discardSink struct{}

func (discard) AddTrack(string, Header) (Sink, error) { return discardSink{}, nil }
func (discard) Event(Event) error                     { return nil }
func (discard) Discontinuity(string)                  {}
func (discard) Anchor(Time, time.Time)                {}
func (discard) Close(error) error                     { return nil }
func (discardSink) WriteChunk(Chunk) error            { return nil }
func (discardSink) Close() error                      { return nil }

// headerWriter writes the header of each chunk that it takes.
type headerWriter struct {
	discard
	buf []byte
	seq uint32
}

func (w *headerWriter) AddTrack(string, Header) (Sink, error) { return headerSink{w}, nil }

type headerSink struct{ *headerWriter }

func (s headerSink) WriteChunk(c Chunk) error {
	s.seq++
	s.buf = c.AppendMoof(s.buf[:0], 1, s.seq)
	return nil
}

func (headerSink) Close() error { return nil }

// media is what the benchmarks move: 1080p30 video at 5 Mbit/s, AAC at
// 128 kbit/s.
var media = []struct {
	kind    string
	samples int // a second
	size    int // bytes of each
	header  [2]string
}{
	{"video", 30, 21 << 10, [2]string{"video.mp4", "video"}},
	{"audio", 47, 341, [2]string{"audio.mp4", "audio"}},
}

func oneSample(size int) Chunk {
	return Chunk{DecodeTime: 1 << 40, Samples: []Sample{{Duration: 512, Size: uint32(size), Flags: FlagsSync}}, Data: make([]byte, size), RAP: true}
}

// mp4ffChunk writes data as a chunk of one sample in mp4ff's fastest way: its
// mdat refers to the sample's bytes instead of copying them.
func mp4ffChunk(b *testing.B, w *bytes.Buffer, data []byte) {
	f, err := mp4.CreateFragment(1, 1)
	if err != nil {
		b.Fatal(err)
	}
	f.AddSample(mp4.Sample{Flags: FlagsSync, Dur: 512, Size: uint32(len(data))}, 1<<40)
	f.Mdat.AddSampleDataPart(data)
	if err := f.Encode(w); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkChunk writes one-sample chunks, in our way, in mp4ff's, and as the
// bare copy of the bytes.
func BenchmarkChunk(b *testing.B) {
	for _, m := range media {
		c := oneSample(m.size)
		buf := make([]byte, 0, c.Size())
		run := func(way string, f func()) {
			b.Run(fmt.Sprintf("way=%s/media=%s", way, m.kind), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(m.size))
				for b.Loop() {
					f()
				}
			})
		}
		run("memcpy", func() { buf = append(buf[:0], c.Data...) })
		run("header", func() { buf = c.AppendMoof(buf[:0], 1, 1) })
		run("whole", func() { buf = c.AppendTo(buf[:0], 1, 1) })
		var w bytes.Buffer
		run("mp4ff", func() {
			w.Reset()
			mp4ffChunk(b, &w, c.Data)
		})
		whole := c.AppendTo(nil, 1, 1)
		run("parse", func() {
			if _, err := ParseChunk(whole); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkRecut reads fragments of a second and cuts them into one-sample
// chunks. "recut" also writes each chunk's header, which is all that goes out
// beside the shared bytes of the sample; "mp4ff" reads, and writes each sample
// in its fastest way. "memcpy" copies the samples once, which is the least that a
// reader of a network buffer can do.
func BenchmarkRecut(b *testing.B) {
	for _, m := range media {
		h := header(b, m.header[0], m.header[1])
		one := oneSample(m.size)
		frag := Chunk{DecodeTime: 1 << 40}
		for range m.samples {
			frag.Samples = append(frag.Samples, one.Samples[0])
			frag.Data = append(frag.Data, one.Data...)
		}
		in := frag.AppendTo(nil, 1, 1)
		report := func(b *testing.B) {
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*m.samples), "ns/sample")
		}
		b.Run("way=memcpy/media="+m.kind, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(frag.Data)))
			for b.Loop() {
				for i := range m.samples {
					sink = bytes.Clone(frag.Data[i*m.size : (i+1)*m.size])
				}
			}
			report(b)
		})
		b.Run("way=demux/media="+m.kind, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(frag.Data)))
			d := NewDemuxer(discard{}, DemuxerConfig{})
			if _, err := d.Write(h.Init); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := d.Write(in); err != nil {
					b.Fatal(err)
				}
			}
			report(b)
		})
		b.Run("way=recut/media="+m.kind, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(frag.Data)))
			d := NewDemuxer(&headerWriter{}, DemuxerConfig{})
			if _, err := d.Write(h.Init); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := d.Write(in); err != nil {
					b.Fatal(err)
				}
			}
			report(b)
		})
		b.Run("way=mp4ff/media="+m.kind, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(frag.Data)))
			var w bytes.Buffer
			for b.Loop() {
				w.Reset()
				f, err := mp4.DecodeFile(bytes.NewReader(in))
				if err != nil {
					b.Fatal(err)
				}
				samples, err := f.Segments[0].Fragments[0].GetFullSamples(nil)
				if err != nil {
					b.Fatal(err)
				}
				for i := range samples {
					mp4ffChunk(b, &w, samples[i].Data)
				}
			}
			report(b)
		})
	}
}

var sink []byte
