package moqt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// pieces yields b in pieces of the lengths that splits says, over and over.
type pieces struct {
	b      []byte
	splits []byte
	n      int
}

func (p *pieces) Read(buf []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := len(p.b)
	if len(p.splits) > 0 {
		n = 1 + int(p.splits[p.n%len(p.splits)])
		p.n++
	}
	n = copy(buf[:min(n, len(buf))], p.b)
	p.b = p.b[n:]
	return n, nil
}

// FuzzFetchFill feeds a response in any split, in either order, up to an end that
// may lie before that of the hole. It must not panic, the splits must make no
// difference, and nothing may be said of what the publisher said nothing of.
func FuzzFetchFill(f *testing.F) {
	response := func(order wire.GroupOrder, items ...wire.FetchObject) []byte {
		w := wire.NewFetchWriter(order)
		var b []byte
		for _, o := range items {
			if o.Range == wire.FetchNoRange {
				o.Length = 3
			}
			b, _ = w.Append(b, o)
			if o.Range == wire.FetchNoRange {
				b = append(b, "abc"...)
			}
		}
		return b
	}
	props := wire.NewProperties(wire.KeyValue{Type: wire.PropPriorObjectIDGap, Uint: 1})
	up := response(wire.GroupAscending,
		wire.FetchObject{Group: 1, Object: 2, Properties: props}, wire.FetchObject{Group: 1, Object: 3, Subgroup: 4},
		wire.FetchObject{Range: wire.FetchUnknown, Group: 2, Object: 5}, wire.FetchObject{Group: 3, Datagram: true})
	down := response(wire.GroupDescending,
		wire.FetchObject{Group: 3}, wire.FetchObject{Range: wire.FetchNonExistent, Group: 2, Object: 5}, wire.FetchObject{Group: 1, Object: 3})
	for _, end := range []uint16{0, 2<<8 | 3, 4 << 8, 1<<8 | 1} {
		f.Add(up, []byte{0, 5}, false, end)
		f.Add(down, []byte{}, true, end)
	}
	f.Add(up[:len(up)-1], []byte{200}, false, uint16(0))
	f.Fuzz(func(t *testing.T, b, splits []byte, descending bool, end uint16) {
		asked := track.Range{Start: track.Location{Group: 1, Object: 1}, End: track.Location{Group: 4}}
		stop := track.Location{Group: uint64(end >> 8), Object: uint64(end & 0xff)}
		if !asked.Start.Less(stop) || !stop.Less(asked.End) {
			stop = asked.End
		}
		order := track.Ascending
		if descending {
			order = track.Descending
		}
		play := func(splits []byte) ([]string, error) {
			tr := track.New(track.Name{}, track.Info{}, track.Config{MaxObject: 1 << 16, MaxGroupBytes: 1 << 20})
			s := newFetchSink(tr.Fill(asked), asked, stop, order, 1<<16)
			err := s.fill(nil, &pieces{b: b, splits: splits}, make([]byte, 512))
			if !s.ended {
				t.Fatalf("the hole stays open after %v", err)
			}
			if cap(s.payload) > keptPayload || len(s.head) > len(b) {
				t.Fatalf("%d and %d bytes are held for %d", cap(s.payload), len(s.head), len(b))
			}
			if tr.Bytes() > int64(2000*len(b)+1<<16) {
				t.Fatalf("%d bytes are charged for %d", tr.Bytes(), len(b))
			}
			if stop.Less(asked.End) {
				rest := track.Range{Start: stop, End: asked.End}
				if got := tr.Unknown(rest, 2); !slices.Equal(got, []track.Range{rest}) {
					t.Fatalf("of %v only %v is unknown", rest, got)
				}
			}
			var list []string
			for rd := tr.Fetch(asked, track.Ascending); ; {
				item, state := rd.Next()
				if state != track.FetchReady {
					return append(list, fmt.Sprint(state)), err
				}
				list = append(list, fmt.Sprintf("%v %v %v %q %x", item.Kind, item.To, item.Object.Location(), item.Object.Payload, item.Object.Properties))
			}
		}
		whole, errWhole := play(nil)
		again, err := play(splits)
		if !slices.Equal(whole, again) || fmt.Sprint(errWhole) != fmt.Sprint(err) {
			t.Fatalf("whole: %v, %v; split: %v, %v", whole, errWhole, again, err)
		}
		if last := whole[len(whole)-1]; last != fmt.Sprint(track.FetchEnd) {
			t.Fatalf("a reader of the range waits for ever: %v", whole)
		}
	})
}

// A reader that waits for a stream goes on where it was, under Step.
func TestFetchFillResumes(t *testing.T) {
	tr := track.New(track.Name{}, track.Info{}, track.Config{})
	rng := track.Range{End: track.Location{Group: 2}}
	s := newFetchSink(tr.Fill(rng), rng, rng.End, track.Ascending, 1<<20)
	w := wire.NewFetchWriter(track.Ascending)
	b, _ := w.Append(nil, wire.FetchObject{Group: 1, Length: 4})
	b = append(b, "abcd"...)
	for i := range b {
		if err := s.fill(b[i:i+1], blocked{}, nil); !errors.Is(err, ErrWouldBlock) {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
	if err := s.fill(nil, bytes.NewReader(nil), nil); err != nil {
		t.Fatal(err)
	}
	item, _ := tr.Fetch(rng, track.Ascending).Next()
	if string(item.Object.Payload) != "abcd" {
		t.Errorf("read %+v", item)
	}
}

type blocked struct{}

func (blocked) Read([]byte) (int, error) { return 0, ErrWouldBlock }

// What an object's header says must outlive the buffer that it was read into.
func TestFetchFillKeepsProperties(t *testing.T) {
	tr := track.New(track.Name{}, track.Info{}, track.Config{})
	rng := track.Range{End: track.Location{Group: 2}}
	s := newFetchSink(tr.Fill(rng), rng, rng.End, track.Ascending, 1<<20)
	w := wire.NewFetchWriter(track.Ascending)
	props := wire.NewProperties(wire.KeyValue{Type: 0x3801, Bytes: []byte("these")})
	b, _ := w.Append(nil, wire.FetchObject{Properties: props, Length: 100})
	header := byte(len(b))
	b = append(b, make([]byte, 100)...)
	if err := s.fill(nil, &pieces{b: b, splits: []byte{header - 1, 99}}, make([]byte, 200)); err != nil {
		t.Fatal(err)
	}
	item, _ := tr.Fetch(rng, track.Ascending).Next()
	if !bytes.Equal(item.Object.Properties, props) {
		t.Errorf("properties %x, want %x", item.Object.Properties, props)
	}
}
