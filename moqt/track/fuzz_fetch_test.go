package track

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"
)

// FuzzSources feeds the streams of two sources of one subgroup, piece by piece
// in turn. Whatever they hold, readers see no object twice, what they see of an
// object does not change, and nothing is left over.
func FuzzSources(f *testing.F) {
	a := stream(false, Object{ID: 0, Payload: fill(10)}, Object{ID: 5, Payload: fill(300)}, Object{ID: 6, Payload: fill(30)})
	f.Add(a, a, []byte{1, 200}, uint8(0), false)
	f.Add(a, a, []byte{7}, uint8(1), true)
	f.Add(a, stream(false, Object{ID: 5, Payload: fill(300)}), []byte{90, 13}, uint8(2), false)
	f.Add(a, stream(false, Object{ID: 5, Payload: fill(299)}), []byte{90, 13}, uint8(3), false)
	f.Add(stream(false, Object{ID: 0, Status: ObjectEndOfGroup}), a, []byte{255}, uint8(0), false)
	f.Fuzz(func(t *testing.T, a, b, splits []byte, ends uint8, firstID bool) {
		tr := newTestTrack(Config{MaxObject: 1 << 20, MaxGroupBytes: 2 << 20})
		header := SubgroupHeader{FirstObject: true, EndOfGroup: ends&4 != 0, FirstIDMode: firstID}
		rest := [2][]byte{a, b}
		var w [2]*SubgroupWriter
		for i := range w {
			var err error
			if w[i], err = tr.Subgroup(header); err != nil {
				t.Fatal(err)
			}
		}
		for i := 0; len(rest[0])+len(rest[1]) > 0; i++ {
			n := len(rest[i%2])
			if len(splits) > 0 {
				n = min(n, int(splits[i%len(splits)]))
			}
			if n == 0 && i > 1000 {
				n = len(rest[i%2])
			}
			if _, err := w[i%2].Write(rest[i%2][:n]); err != nil {
				w[i%2].Abort(ResetInternalError)
			}
			rest[i%2] = rest[i%2][n:]
			seenOnce(t, tr)
		}
		for i := range w {
			if ends>>i&1 == 0 {
				_ = w[i].Close() // an error has aborted it
			} else {
				w[i].Abort(ResetCancelled)
			}
			seenOnce(t, tr)
		}
		if tr.open != 0 {
			t.Fatalf("%d subgroups are open", tr.open)
		}
		tr.Drop()
		if tr.Bytes() != 0 {
			t.Fatalf("%d bytes are left", tr.Bytes())
		}
	})
}

// seenOnce fails if readers see a whole object twice in one subgroup.
func seenOnce(t *testing.T, tr *Track) {
	t.Helper()
	subgroups, _ := tr.Since(0)
	seen := map[[2]uint64]bool{}
	for _, s := range subgroups {
		for i := range s.Objects() {
			ref, ok := s.Object(i)
			key := [2]uint64{s.Header().Subgroup, ref.ID}
			if ok && ref.Complete && ref.Status == ObjectNormal {
				if seen[key] {
					t.Fatalf("object %d of subgroup %d is seen twice", key[1], key[0])
				}
				seen[key] = true
			}
		}
	}
}

// FuzzFetch lets bytes drive writers, fillers and the clock of a track. What is
// read is in order and ends, Unknown agrees with it, and nothing is left over.
func FuzzFetch(f *testing.F) {
	f.Add([]byte{0, 1, 0, 2, 1, 1, 3, 2, 4, 0, 5, 9, 6})
	f.Add([]byte{4, 0x80, 5, 0x12, 5, 0x21, 6, 0, 7, 0x33, 8, 0})
	f.Add([]byte{0, 0xff, 1, 0xff, 4, 0xff, 5, 0xfe, 7, 0xff, 6, 0, 9, 0})
	f.Fuzz(func(t *testing.T, ops []byte) {
		clock := newFakeClock()
		tr := New(testName, Info{Local: len(ops)%2 == 1}, Config{MaxGroups: 3, MaxBytes: 50_000, Now: clock.Now})
		// wide maps a byte to a number that may be at the end of the space.
		wide := func(b byte) uint64 {
			if b >= 0xf0 {
				return ^uint64(0) - uint64(0xff-b)
			}
			return uint64(b)
		}
		var w *SubgroupWriter
		var filler *Filler
		for ; len(ops) >= 2; ops = ops[2:] {
			group, id := wide(ops[1]&0xf0|ops[1]>>4), wide(ops[1]<<4|ops[1]&0xf)
			l := Location{Group: group, Object: id}
			switch ops[0] % 10 {
			case 0:
				if next, err := tr.Subgroup(SubgroupHeader{Group: group, Subgroup: id, EndOfGroup: id%2 == 0, Properties: true}); err == nil {
					w = next
				}
			case 1:
				if w != nil {
					gap := NewProperties(Property{Type: PropPriorObjectIDGap, Uint: group % 5}, Property{Type: PropPriorGroupIDGap, Uint: group % 3})
					_ = w.WriteObject(Object{ID: id, Payload: fill(int(group % 100)), Properties: gap[:len(gap)*int(id%2)]})
				}
			case 2:
				if w != nil {
					_, _ = w.Write(binary.BigEndian.AppendUint16(nil, uint16(group)))
				}
			case 3:
				if w != nil {
					_ = w.Close()
				}
			case 4:
				if filler != nil {
					filler.Close()
				}
				filler = tr.Fill(Range{Location{Group: group / 2}, l})
			case 5:
				if filler != nil {
					_ = filler.WriteObject(Object{Group: group, ID: id, Priority: DefaultPriority})
				}
			case 6:
				if filler != nil {
					_ = filler.Unknown(l)
				}
			case 7:
				if filler != nil {
					_ = filler.Absent(l)
				}
			case 8:
				_ = tr.WriteDatagram(Object{Group: group, ID: id, EndOfGroup: id%4 == 3})
			case 9:
				clock.advance(time.Duration(ops[1]) * 100 * time.Millisecond)
				tr.Expire(clock.Now())
			}
			readsInOrder(t, tr, Range{End: last})
			readsInOrder(t, tr, Range{l, last})
			readsInOrder(t, tr, Range{End: l})
		}
		tr.End(DoneTrackEnded, "")
		tr.Drop()
		if tr.Bytes() != 0 || tr.open != 0 {
			t.Fatalf("%d bytes and %d open subgroups are left", tr.Bytes(), tr.open)
		}
	})
}

// readsInOrder reads r in both orders, with and without patience.
func readsInOrder(t *testing.T, tr *Track, r Range) {
	t.Helper()
	unknown := tr.Unknown(r, 1<<20)
	for i, u := range unknown {
		if u.Empty() || u.Start.Less(r.Start) || r.End.Less(u.End) || i > 0 && !unknown[i-1].End.Less(u.Start) {
			t.Fatalf("Unknown(%v) = %v", r, unknown)
		}
	}
	for _, order := range []GroupOrder{Ascending, Descending} {
		rd := tr.Fetch(r, order)
		rd.GiveUp()
		var at Location
		for n := 0; ; n++ {
			item, state := rd.Next()
			if state != FetchReady {
				break
			}
			to := item.To
			if item.Kind == FetchObject {
				to = item.Object.Location()
				if slices.ContainsFunc(unknown, func(u Range) bool { return u.Contains(to) }) {
					t.Fatalf("Unknown lists %v, which is there", to)
				}
			}
			if !r.Contains(to) || n > 0 && inOrder(order, at, to) >= 0 || n > 100_000 {
				t.Fatalf("fetch of %v in order %v: %v after %v", r, order, to, at)
			}
			at = to
		}
	}
}
