package mpegts

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
)

// packets cuts a payload into transport packets.
func packets(pid uint16, payload []byte) (out []byte) {
	for i := 0; len(payload) > 0; i++ {
		p := make([]byte, 4, packetSize)
		p[0], p[3] = syncByte, 0x10|byte(i&15)
		binary.BigEndian.PutUint16(p[1:], pid)
		if i == 0 {
			p[1] |= 0x40
		}
		n := min(len(payload), packetSize-4)
		if stuff := packetSize - 4 - n; stuff > 0 {
			p[3] |= 0x20
			p = append(p, byte(stuff-1))
			if stuff > 1 {
				p = append(p, 0)
				p = append(p, bytes.Repeat([]byte{0xff}, stuff-2)...)
			}
		}
		out = append(out, append(p, payload[:n]...)...)
		payload = payload[n:]
	}
	return out
}

// section completes a section from its table on: its length and checksum.
func section(b []byte) []byte {
	binary.BigEndian.PutUint16(b[1:], binary.BigEndian.Uint16(b[1:])&0xf000|uint16(len(b)-3+4))
	return binary.BigEndian.AppendUint32(b, crc32MPEG(b))
}

// tables returns a PAT and a PMT of program 1 with these streams, which are
// stream type, PID and descriptors.
func tables(streams ...[]byte) []byte {
	pat := section([]byte{tablePAT, 0xb0, 0, 0, 1, 0xc1, 0, 0, 0, 1, 0xe1, 0})
	pmt := []byte{tablePMT, 0xb0, 0, 0, 1, 0xc1, 0, 0, 0xff, 0xff, 0xf0, 0}
	for _, s := range streams {
		pmt = append(pmt, s...)
	}
	return append(packets(0, append([]byte{0}, pat...)), packets(0x100, append([]byte{0}, section(pmt)...))...)
}

// entry is a stream's entry in a PMT.
func entry(typ byte, pid uint16, descriptors ...byte) []byte {
	return append([]byte{typ, 0xe0 | byte(pid>>8), byte(pid), 0xf0, byte(len(descriptors))}, descriptors...)
}

// pesPacket is a PES packet with a PTS, or without.
func pesPacket(pts int64, payload []byte) []byte {
	b := []byte{0, 0, 1, 0xbd, 0, 0, 0x80, 0, 0}
	if pts >= 0 {
		b[7], b[8] = 0x80, 5
		b = append(b, 0x21|byte(pts>>29&0xe), byte(pts>>22), byte(pts>>14)|1, byte(pts>>7), byte(pts<<1)|1)
	}
	b = append(b, payload...)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-6))
	return b
}

// adtsFrame is a frame of AAC whose content is nothing.
func adtsFrame() []byte {
	f := []byte{0xff, 0xf1, 0x4c, 0x80, 0, 0x1f, 0xfc, 0x21, 0x10, 0x04, 0x60, 0x8c, 0x1c}
	f[3] |= byte(len(f) >> 11)
	f[4], f[5] = byte(len(f)>>3), byte(len(f)<<5)|0x1f
	return f
}

// timeSignal is a time_signal of SCTE-35.
func timeSignal(adjust, pts int64) []byte {
	return section([]byte{
		tableSCTE35, 0x30, 0, 0, byte(adjust >> 32), byte(adjust >> 24), byte(adjust >> 16), byte(adjust >> 8), byte(adjust), 0,
		0xff, 0xf0, 5, 6, 0xfe | byte(pts>>32), byte(pts >> 24), byte(pts >> 16), byte(pts >> 8), byte(pts), 0, 0,
	})
}

// spliceInsert is a splice_insert with a break.
func spliceInsert(pts, duration int64) []byte {
	b := []byte{
		tableSCTE35, 0x30, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xf0, 20, 5,
		0, 0, 0, 7, 0x7f, 0xef,
	}
	for _, v := range []int64{pts, duration} {
		b = append(b, 0xfe|byte(v>>32), byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
	}
	return section(append(b, 0, 1, 0, 0, 0, 0))
}

const (
	audioPID = 0x101 + iota
	cuePID
	klvPID
	syncPID
)

// dataStreams is a program with sound, cues and KLV.
func dataStreams() []byte {
	klva := []byte{5, 4, 'K', 'L', 'V', 'A'}
	in := tables(entry(typeADTS, audioPID), entry(typeSCTE35, cuePID, 5, 4, 'C', 'U', 'E', 'I'), entry(typePrivate, klvPID, klva...),
		entry(typeMetadata, syncPID, 0x26, 9, 1, 0, 0xff, 'K', 'L', 'V', 'A', 0, 0x0f))
	in = append(in, packets(cuePID, append([]byte{0}, timeSignal(0, 1)...))...) // before there is a time
	in = append(in, packets(audioPID, pesPacket(900_000, bytes.Repeat(adtsFrame(), 3)))...)
	in = append(in, packets(cuePID, append([]byte{0}, timeSignal(90_000, clockWrap-1)...))...)
	in = append(in, packets(cuePID, append([]byte{0}, spliceInsert(1_800_000, 2_700_000)...))...)
	in = append(in, packets(klvPID, pesPacket(-1, bytes.Repeat([]byte("klv."), 100)))...)
	cell := append([]byte{0, 1, 0xdf, 0, 6}, "synced"...)
	return append(in, packets(syncPID, pesPacket(945_000, cell))...)
}

// told is a capture that keeps events.
type told struct {
	capture
	events []cmaf.Event
}

func (e *told) Event(ev cmaf.Event) error { e.events = append(e.events, ev); return nil }

func TestEvents(t *testing.T) {
	b := new(told)
	d := NewDemuxer(b, Config{})
	if _, err := d.Write(dataStreams()); err != nil {
		t.Fatal(err)
	}
	at := func(ticks int64) cmaf.Time { return cmaf.Time{Ticks: ticks, Scale: clockRate} }
	for i, want := range []cmaf.Event{
		{Scheme: SchemeSCTE35, Time: at(89_999), Payload: timeSignal(90_000, clockWrap-1)}, // its wrap is that of the sum
		{Scheme: SchemeSCTE35, Time: at(1_800_000), Duration: at(2_700_000), Payload: spliceInsert(1_800_000, 2_700_000)},
		{Scheme: SchemeKLV, Time: at(900_000), Payload: bytes.Repeat([]byte("klv."), 100)},
		{Scheme: SchemeKLV, Time: at(945_000), Payload: []byte("synced")},
	} {
		if i >= len(b.events) {
			t.Fatalf("%d events, want more", len(b.events))
		}
		got := b.events[i]
		if got.Scheme != want.Scheme || got.Time != want.Time || got.Duration != want.Duration || !bytes.Equal(got.Payload, want.Payload) || got.ID == 0 {
			t.Errorf("event %d = %+v, want %+v", i, got, want)
		}
	}
	if d.Stats().Dropped != 1 {
		t.Errorf("%d were dropped, want the cue that came before any time", d.Stats().Dropped)
	}
	if len(b.events) != 4 || len(b.tracks) != 0 && b.tracks[0].name != "audio" {
		t.Errorf("%d events, tracks %v", len(b.events), b.names())
	}
	if err := d.Close(); err != nil || len(b.tracks) != 1 {
		t.Errorf("Close: %v, tracks %v", err, b.names())
	}
}

// TestOpus reads what ffmpeg writes, and gets the packets that it wrote.
func TestOpus(t *testing.T) {
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		t.Skip(err)
	}
	for _, channels := range []int{1, 2, 6} {
		t.Run(fmt.Sprint(channels), func(t *testing.T) {
			in := run(t, "ffmpeg", "-v", "error", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=1",
				"-ac", fmt.Sprint(channels), "-c:a", "libopus", "-mapping_family", fmt.Sprint(min(1, channels/3)), "-f", "mpegts", "-")
			c, stats, err := demux([]byte(in), 1000)
			if err != nil {
				t.Fatal(err)
			}
			tr := c.track(t, "audio", 0)
			if tr.header.Codec != "opus" || tr.header.Channels != channels || tr.header.Timescale != opusRate {
				t.Errorf("header %+v", tr.header)
			}
			var all time.Duration
			for i, s := range tr.samples() {
				if s.dur != 960 || i > 0 && s.dts != tr.samples()[i-1].dts+960 {
					t.Fatalf("packet %d: %d samples at %d", i, s.dur, s.dts)
				}
				all += 20 * time.Millisecond
			}
			if all < time.Second || stats.Dropped != 0 {
				t.Errorf("%v of sound, %+v", all, stats)
			}
		})
	}
}

func TestOpusControl(t *testing.T) {
	for _, tt := range []struct {
		in         string
		head, size int
		ok         bool
	}{
		{"\x7f\xe0\x05", 3, 5, true},
		{"\x7f\xf8\xff\x01\x00\x01\x00\x02", 8, 256, true},
		{"\x7f\xe4\x05\x02ab", 6, 5, true},
		{"\x7f\xe4\x05", 0, 0, true},
		{"\x7f", 0, 0, true},
		{"\x7e\xe0\x05", 0, 0, false},
		{"\x7f\xc0\x05", 0, 0, false},
		{"\x7f\xe0" + strings.Repeat("\xff", maxOpus/255+1), 0, 0, false},
	} {
		if head, size, ok := opusControl([]byte(tt.in)); head != tt.head || size != tt.size || ok != tt.ok {
			t.Errorf("opusControl(%.20q) = %d, %d, %t, want %d, %d, %t", tt.in, head, size, ok, tt.head, tt.size, tt.ok)
		}
	}
}

// FuzzData feeds what a data stream or Opus may carry, past the packets that a
// mutation seldom survives.
func FuzzData(f *testing.F) {
	f.Add(uint8(0), timeSignal(90_000, 5))
	f.Add(uint8(0), spliceInsert(5, 6))
	f.Add(uint8(1), []byte("klv"))
	f.Add(uint8(2), append([]byte{0, 1, 0xdf, 0, 6}, "synced"...))
	f.Add(uint8(3), []byte("\x7f\xe0\x03\xfc\xff\xfe"))
	f.Fuzz(func(t *testing.T, kind uint8, in []byte) {
		b := new(told)
		d := NewDemuxer(b, Config{})
		d.c.Clock.unwrap(900_000)
		switch kind % 4 {
		case 0:
			s := newDataStream(d, listing{pid: cuePID, typ: typeSCTE35})
			if len(in) >= 4 { // with a right length and checksum, or it seldom passes
				in = section(bytes.Clone(in[:min(len(in), 4000)]))
			}
			for p := packets(cuePID, append([]byte{0}, in...)); len(p) > 0; p = p[packetSize:] {
				if parsed, ok := parsePacket(p[:packetSize]); ok {
					if err := s.write(parsed); err != nil {
						t.Fatal(err)
					}
				}
			}
		case 3:
			s := newStream(d, listing{pid: audioPID, typ: typePrivate, registration: formatOpus, opus: kind >> 4 & 7}, streamCodec{cmaf.KindAudio, newOpus})
			d.list = append(d.list, s)
			out := s.pes.out
			for i := 0; len(in) > 0; i++ {
				n := min(len(in), 50)
				if err := out.begin(stamp{pts: int64(i) * 1800, dts: int64(i) * 1800}); err != nil {
					t.Fatal(err)
				}
				if err := out.data(in[:n]); err != nil {
					t.Fatal(err)
				}
				in = in[n:]
			}
			if err := out.close(); err != nil {
				t.Fatal(err)
			}
		default:
			s := newDataStream(d, listing{pid: klvPID, typ: []uint8{1: typePrivate, 2: typeMetadata}[kind%4], registration: formatKLV})
			if err := s.data(in); err != nil {
				t.Fatal(err)
			}
			if err := s.close(); err != nil {
				t.Fatal(err)
			}
		}
		for _, e := range b.events {
			if len(e.Payload) == 0 || len(e.Payload) > maxEvent {
				t.Fatalf("an event of %d bytes", len(e.Payload))
			}
		}
	})
}
