package track

import (
	"bytes"
	"errors"
	"testing"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

// TestHandOver cuts a subgroup while another source is inside an object that
// readers have got whole: it goes on with the next one, as another Subgroup that
// does not claim to begin with the first object (section 11.4.2).
func TestHandOver(t *testing.T) {
	objects := []Object{{ID: 0, Payload: fill(30_000)}, {ID: 1, Payload: fill(40)}}
	tr := newTestTrack(Config{})
	a, b := open(t, tr, 0), open(t, tr, 0)
	whole := stream(false, objects...)
	if _, err := b.Write(whole[:10_000]); err != nil {
		t.Fatal(err)
	}
	write(t, a, objects[0])
	a.Abort(ResetSessionClosed)
	if _, err := b.Write(whole[10_000:]); err != nil {
		t.Fatal(err)
	}
	closed(t, b)
	subgroups, _ := tr.Since(0)
	if len(subgroups) != 2 {
		t.Fatalf("readers see %d subgroups, want 2", len(subgroups))
	}
	if got, want := logOf(subgroups[1]), stream(false, objects[1]); !bytes.Equal(got, want) {
		t.Errorf("the second log is %x, want %x", got, want)
	}
	if subgroups[1].Header().FirstObject {
		t.Error("the second claims to begin with the first object")
	}
}

// TestTwoEnds has a source end a subgroup with FIN that another is still
// bringing, which then ends elsewhere (section 2.4.2, cases 2 and 3).
func TestTwoEnds(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  uint64 // objects up to the FIN of the second source
		go1  uint64 // objects of the first
	}{
		{"2.4.2 (2) the first goes on behind it", 2, 3},
		{"2.4.2 (3) the first ends before it", 3, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := newTestTrack(Config{})
			a, b := open(t, tr, 0), open(t, tr, 0)
			write(t, a, Object{ID: 0})
			for id := range tt.end {
				write(t, b, Object{ID: id})
			}
			closed(t, b)
			var err error
			for id := uint64(1); id < tt.go1 && err == nil; id++ {
				err = a.WriteObject(Object{ID: id})
			}
			if err == nil {
				err = a.Close()
			}
			if !errors.Is(err, wire.ErrMalformedTrack) || tr.Malformed() == nil {
				t.Errorf("the first gets %v", err)
			}
		})
	}
}

// TestFillLearnsTheOrder has a response go down: the groups above its first one
// do not exist, and readers of them need not wait for its end.
func TestFillLearnsTheOrder(t *testing.T) {
	tr := newTestTrack(Config{})
	f := tr.Fill(upTo(6, 0))
	above := Range{Location{Group: 4}, Location{Group: 6}}
	for i, want := range []string{"...", ""} {
		if err := f.WriteObject(Object{Group: 3 - uint64(i), ID: 1}); err != nil {
			t.Fatal(err)
		}
		if got := readAll(tr.Fetch(above, Ascending)); got != want {
			t.Errorf("after %d groups: %q, want %q", i+1, got, want)
		}
	}
}
