package track

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

// nextObject is an object as on a subgroup stream, the next by its ID.
func nextObject(payload []byte) []byte {
	h := wire.ObjectHeader{Length: uint64(len(payload)), Properties: NewProperties(Property{Type: PropTimestamp, Uint: 7})}
	return append(h.Append(nil, true), payload...)
}

// A publisher may stay in one group for ever: a reader that keeps up gets every
// object, and the track stays within its bounds.
func TestRoll(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  Config
	}{
		{"by bytes", Config{MaxGroupBytes: 512 << 10, MaxObject: 16 << 10}},
		{"by count", Config{MaxObjectsPerGroup: 400}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			fill := func(cfg Config, each func(tr *Track, id uint64)) (*Track, *SubgroupWriter, error) {
				tr := newTestTrack(cfg)
				w, err := tr.Subgroup(SubgroupHeader{Group: 5, Subgroup: 1, EndOfGroup: true, FirstObject: true, Properties: true})
				if err != nil {
					t.Fatal(err)
				}
				for id := range uint64(3000) {
					b := nextObject(bytes.Repeat([]byte{byte(id)}, 1000))
					cut := int(id) % len(b)
					for _, piece := range [][]byte{b[:cut], b[cut:]} { // in any split
						if _, err := w.Write(piece); err != nil {
							return tr, w, err
						}
					}
					each(tr, id)
				}
				return tr, w, nil
			}
			if _, _, err := fill(tt.cfg, func(*Track, uint64) {}); !errors.Is(err, ErrLimit) {
				t.Fatalf("without Roll: %v, want ErrLimit", err)
			}
			cfg := tt.cfg
			cfg.Roll = true
			var g *GroupReader
			next := uint64(0)
			most := cfg.withDefaults().MaxGroupBytes
			tr, w, err := fill(cfg, func(tr *Track, id uint64) {
				if g == nil {
					var err error
					if g, err = tr.NewReader(CurrentGroup).NextGroup(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				if tr.Bytes() > most {
					t.Fatalf("%d bytes after object %d, at most %d", tr.Bytes(), id, most)
				}
				for ; id%50 == 49 && next <= id; next++ {
					o, err := g.Next(t.Context())
					if err != nil || o.ID != next || o.Subgroup != 1 || o.Payload[999] != byte(next) {
						t.Fatalf("object %d of subgroup %d, %v; want %d", o.ID, o.Subgroup, err, next)
					}
					if at, _ := o.Properties.Uint(PropTimestamp); at != 7 {
						t.Fatalf("object %d has lost its properties", o.ID)
					}
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			closed(t, w)
			if o, err := g.Next(t.Context()); err != io.EOF {
				t.Errorf("after the last: object %d, %v, want EOF", o.ID, err)
			}
			parts, _ := tr.Since(0)
			for i, s := range parts {
				state, _ := s.State()
				ref, ok := s.Object(0)
				if last := i == len(parts)-1; (state == Complete) != last || s.Header().FirstObject != (i == 0) || last && !ok || ok && i < len(parts)-2 {
					t.Errorf("part %d of %d: %v, %+v, has objects: %t", i+1, len(parts), state, s.Header(), ok)
				}
				if !ok || i == 0 {
					continue
				}
				h, _, err := wire.ParseObjectHeader(s.Bytes(0, 100), true)
				if err != nil || h.IDDelta != ref.ID {
					t.Errorf("part %d begins with object %d, its stream with %d, %v", i+1, ref.ID, h.IDDelta, err)
				}
			}
			if len(parts) < 3 {
				t.Errorf("%d parts, want more", len(parts))
			}
			tr.End(DoneTrackEnded, "")
			if tr.Drop(); tr.Bytes() != 0 {
				t.Errorf("%d bytes are left", tr.Bytes())
			}
		})
	}
}
