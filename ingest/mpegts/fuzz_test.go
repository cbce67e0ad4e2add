package mpegts

import (
	"bytes"
	"encoding/binary"
	"path/filepath"
	"testing"
)

// FuzzDemuxer reads anything, whole and in pieces. Neither panics, and what
// comes out is the same.
func FuzzDemuxer(f *testing.F) {
	files, err := filepath.Glob("testdata/*.ts")
	if err != nil || len(files) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, file := range files {
		in := fixture(f, filepath.Base(file))
		f.Add(in[:min(len(in), 60*packetSize)], uint16(100))
	}
	f.Add(dataStreams(), uint16(100))
	f.Fuzz(func(t *testing.T, in []byte, n uint16) {
		a, _, errA := demux(in, 0)
		b, _, errB := demux(in, int(n%2000)+1)
		if (errA == nil) != (errB == nil) {
			t.Fatalf("whole: %v; in pieces: %v", errA, errB)
		}
		if errA == nil && a.String() != b.String() {
			t.Fatal("in pieces something else came out")
		}
	})
}

// FuzzStream feeds elementary streams past the layers that a mutation seldom
// survives: the input is a run of PES payloads, each with its times.
func FuzzStream(f *testing.F) {
	in := fixture(f, "av.ts")
	var video, audio []byte
	for i := 0; i < len(in); i += packetSize {
		p, _ := parsePacket(in[i:])
		if p.start && p.pid >= 256 {
			body := p.payload[9+int(p.payload[8]):]
			unit := binary.BigEndian.AppendUint16([]byte{1, byte(i)}, uint16(len(body)))
			unit = append(unit, body...)
			if p.pid == 256 {
				video = append(video, unit...)
			} else {
				audio = append(audio, unit...)
			}
		}
	}
	f.Add(uint8(typeAVC), video)
	f.Add(uint8(typeHEVC), video)
	f.Add(uint8(typeADTS), audio)
	f.Fuzz(func(t *testing.T, typ uint8, in []byte) {
		c := &capture{}
		d := NewDemuxer(c, Config{})
		if err := d.setStreams([]listing{{pid: 256, typ: typ}}); err != nil {
			return
		}
		out := d.list[0].pes.out
		var at int64
		for len(in) >= 4 {
			what, step, n := in[0], int64(in[1]), int(binary.BigEndian.Uint16(in[2:]))
			in = in[4:]
			n = min(n, len(in))
			body := in[:n]
			in = in[n:]
			at += step*step*step - 10_000
			var err error
			switch what % 8 {
			case 6:
				out.lose()
			case 7:
				err = out.flush()
			default:
				err = out.begin(stamp{pts: at + step*100, dts: at})
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := out.data(body); err != nil {
				t.Fatal(err)
			}
		}
		_ = d.Close()
		for _, tr := range c.tracks {
			for _, ch := range tr.chunks {
				size := 0
				for _, s := range ch.Samples {
					size += int(s.Size)
				}
				if size != len(ch.Data) || size == 0 {
					t.Fatalf("samples of %d bytes in a chunk of %d", size, len(ch.Data))
				}
			}
		}
	})
}

// FuzzTables parses sections that have a right checksum.
func FuzzTables(f *testing.F) {
	in := fixture(f, "av.ts")
	for i := 0; i < 4*packetSize; i += packetSize {
		if p, _ := parsePacket(in[i:]); p.start && p.pid != 256 {
			f.Add(p.payload[4:])
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) >= 5 {
			programs, _ := parsePAT(body)
			if len(programs) > len(body)/4 {
				t.Fatal("more programs than bytes")
			}
		}
		_, streams, ok := parsePMT(body)
		if ok && len(streams) > maxPMTs {
			t.Fatal("too many streams")
		}
		// The assembler, with the section in pieces of a packet.
		var s sections
		section := append([]byte{tablePMT, 0xb0 | byte(len(body)>>8)&0x0f, byte(len(body))}, body...)
		section = binary.BigEndian.AppendUint32(section, crc32MPEG(section))
		first := true
		for p := append([]byte{0}, section...); len(p) > 0; first = false {
			n := min(184, len(p))
			_ = s.write(p[:n], first, func(byte, []byte) error { return nil })
			p = p[n:]
		}
		if len(s.buf) > maxSection || bytes.Equal(s.buf, nil) && s.buf != nil && cap(s.buf) > 4*maxSection {
			t.Fatalf("holds %d bytes", cap(s.buf))
		}
	})
}
