package load

import (
	"math"
	"testing"
	"time"
)

func mustProfile(t *testing.T, name string) Profile {
	t.Helper()
	p, err := ProfileNamed(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestTV holds the profile to what its description says.
func TestTV(t *testing.T) {
	p := mustProfile(t, "tv")
	const seconds = 8 // both tracks come out even
	bits := make([]float64, len(p.Tracks))
	objects := make([]int, len(p.Tracks))
	for i, tr := range p.Tracks {
		objects[i] = tr.Before(seconds * time.Second)
		for k := range objects[i] {
			bits[i] += 8 * float64(p.Size(tr, k)) / seconds
		}
	}
	for _, tt := range []struct {
		name      string
		got, want float64
	}{
		{"video objects", float64(objects[0]), 240},
		{"audio objects", float64(objects[1]), 375},
		{"video kbit/s", bits[0] / 1000, 5000},
		{"audio kbit/s", bits[1] / 1000, 128},
		{"first frame, in others", float64(p.Tracks[0].First) / float64(p.Tracks[0].Size), 8},
	} {
		if math.Abs(tt.got-tt.want) > 0.001*tt.want {
			t.Errorf("%s: %v, want %v", tt.name, tt.got, tt.want)
		}
	}
	if _, err := ProfileNamed("tele"); err == nil {
		t.Error(`ProfileNamed("tele") found something`)
	}
}

// TestProfiles holds every profile to what a load needs of it.
func TestProfiles(t *testing.T) {
	names := make(map[string]bool)
	for _, p := range Profiles() {
		if names[p.Name] || p.About == "" {
			t.Errorf("profile %q is there twice, or says nothing of itself", p.Name)
		}
		names[p.Name] = true
		for i, tr := range p.Tracks {
			if min(tr.First, tr.Size) < minObject {
				t.Errorf("%s: objects of %s are smaller than a stamp", p.Name, tr.Name)
			}
			if p.Track(tr.Name) != i {
				t.Errorf("%s: Track(%q) = %d, want %d", p.Name, tr.Name, p.Track(tr.Name), i)
			}
		}
	}
	for _, name := range []string{"tv", "bench60", "audio", "chat"} {
		if !names[name] {
			t.Errorf("there is no profile %q", name)
		}
	}
	chat := mustProfile(t, "chat")
	for i := range 100 { // each message is a group
		if g, first := chat.group(chat.Tracks[0], i); g != uint64(i) || first != i {
			t.Fatalf("message %d is in group %d from %d", i, g, first)
		}
	}
}

// TestSchedule compares before and group with a count by hand.
func TestSchedule(t *testing.T) {
	p := mustProfile(t, "tv")
	for _, tr := range p.Tracks {
		first := make(map[uint64]int)
		last := time.Duration(-1)
		for i := range 1000 {
			at := tr.at(i)
			if at <= last {
				t.Fatalf("%s: object %d at %v, not after %v", tr.Name, i, at, last)
			}
			last = at
			if n := tr.Before(at); n != i {
				t.Fatalf("%s: before(%v) = %d, want %d", tr.Name, at, n, i)
			}
			if n := tr.Before(at + 1); n != i+1 {
				t.Fatalf("%s: before(%v) = %d, want %d", tr.Name, at+1, n, i+1)
			}
			want := uint64(at / time.Second)
			if _, ok := first[want]; !ok {
				first[want] = i
			}
			if g, f := p.group(tr, i); g != want || f != first[want] {
				t.Fatalf("%s: group of %d = %d from %d, want %d from %d", tr.Name, i, g, f, want, first[want])
			}
		}
	}
}

func TestExpected(t *testing.T) {
	p := mustProfile(t, "tv")
	objects, bytes := Window{time.Second, 3 * time.Second}.Expected(p)
	// Audio: objects 47 (1.0027 s) to 140 (2.987 s).
	if want := int64(2*30 + 94); objects != want {
		t.Errorf("objects = %d, want %d", objects, want)
	}
	if want := int64(2*(135_136+29*16_892) + 94*341); bytes != want {
		t.Errorf("bytes = %d, want %d", bytes, want)
	}
}

func TestStamp(t *testing.T) {
	p := noise(1000)
	s := stamp{due: time.Unix(1_800_000_000, 123456789), track: 1, index: 4711}
	s.put(p)
	got, ok := readStamp(p)
	if !ok || !got.due.Equal(s.due) || got.track != s.track || got.index != s.index {
		t.Errorf("readStamp = %+v, %t, want %+v", got, ok, s)
	}
	for _, tt := range []struct {
		name string
		b    []byte
	}{
		{"empty", nil},
		{"short", p[:minObject-1]},
		{"cut", p[:999]},
		{"another's end", append(p[:996:996], 1, 2, 3, 4)},
	} {
		if got, ok := readStamp(tt.b); ok {
			t.Errorf("%s: accepted as %+v", tt.name, got)
		}
	}
	other := stamp{due: s.due, track: 1, index: 4712}
	if other.mark(1000) == s.mark(1000) {
		t.Error("neighbours have the same mark")
	}
}

func FuzzStamp(f *testing.F) {
	b := make([]byte, minObject)
	stamp{due: time.Unix(1, 2), index: 3}.put(b)
	f.Add(b)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, ok := readStamp(b)
		if !ok {
			return
		}
		again := append([]byte(nil), b...)
		s.put(again)
		if got, ok := readStamp(again); !ok || got != s {
			t.Fatalf("%x -> %+v -> %+v, %t", b, s, got, ok)
		}
	})
}
