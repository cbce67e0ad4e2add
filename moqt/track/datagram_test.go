package track

import (
	"errors"
	"fmt"
	"io"
	"testing"
	"time"
)

func datagram(group, id uint64, payload []byte) Object {
	return Object{Group: group, ID: id, Priority: DefaultPriority, Payload: payload}
}

func putDatagrams(t testing.TB, tr *Track, objects ...Object) {
	t.Helper()
	for _, o := range objects {
		if err := tr.WriteDatagram(o); err != nil {
			t.Fatalf("WriteDatagram(%v): %v", o.Location(), err)
		}
	}
}

func locations(objects []Object) (all []string) {
	for _, o := range objects {
		all = append(all, fmt.Sprintf("%d/%d", o.Group, o.ID))
	}
	return all
}

func TestDatagrams(t *testing.T) {
	tr := newTestTrack(Config{MaxGroups: 2})
	f := &flagged{wake: make(chan struct{}, 1)}
	tr.Attach(f)
	putDatagrams(t, tr, datagram(1, 3, fill(3)), datagram(1, 1, nil), datagram(1, 3, fill(3)))
	if !f.dirty.Load() {
		t.Error("nobody was woken")
	}
	objects, seq := tr.Datagrams(0)
	if got := fmt.Sprint(locations(objects)); got != "[1/3 1/1]" || seq != 2 {
		t.Errorf("Datagrams(0) = %s, %d: in order of arrival, each once", got, seq)
	}
	if o := objects[0]; !o.Datagram || o.Priority != DefaultPriority || len(o.Payload) != 3 || o.Arrival.IsZero() {
		t.Errorf("the first is %+v", o)
	}
	if objects, next := tr.Datagrams(seq); len(objects) != 0 || next != seq {
		t.Errorf("Datagrams(%d) = %v, %d", seq, objects, next)
	}
	putDatagrams(t, tr, datagram(2, 0, nil), Object{Group: 2, ID: 1, Status: ObjectEndOfGroup})
	if objects, _ := tr.Datagrams(seq); fmt.Sprint(locations(objects)) != "[2/0 2/1]" {
		t.Errorf("Datagrams(%d) = %v", seq, locations(objects))
	}
	if l, _ := tr.Largest(); l != (Location{Group: 2}) {
		t.Errorf("the largest is %v", l)
	}
	if got := readAll(tr.Fetch(Range{Location{Group: 1}, Location{Group: 3}}, Ascending)); got != "?1/0 1/1 ?1/2 1/3 ?1/* 2/0" {
		t.Errorf("a fetch reads %s", got)
	}
	putDatagrams(t, tr, datagram(3, 0, nil)) // evicts group 1
	if objects, _ := tr.Datagrams(0); fmt.Sprint(locations(objects)) != "[2/0 2/1 3/0]" {
		t.Errorf("after an eviction Datagrams(0) = %v", locations(objects))
	}
	tr.Drop()
	if tr.Bytes() != 0 {
		t.Errorf("%d bytes are left", tr.Bytes())
	}
}

func TestDatagramRingIsBounded(t *testing.T) {
	tr := newTestTrack(Config{})
	for id := range uint64(maxDatagrams + 10) {
		putDatagrams(t, tr, datagram(0, id, nil))
	}
	if objects, next := tr.Datagrams(0); len(objects) != maxDatagrams || objects[0].ID != 10 || next != maxDatagrams+10 {
		t.Errorf("%d objects from %d, next %d", len(objects), objects[0].ID, next)
	}
	for id := range uint64(20) {
		putDatagrams(t, tr, datagram(1, id, fill(100_000)))
	}
	if objects, _ := tr.Datagrams(0); len(objects) != 10 {
		t.Errorf("%d objects of 100 kB are kept", len(objects))
	}
}

// TestDatagramsAreRead has a viewer read a group of which a part came in
// datagrams.
func TestDatagramsAreRead(t *testing.T) {
	tr := newTestTrack(Config{})
	r := tr.NewReader(CurrentGroup)
	putDatagrams(t, tr, datagram(4, 1, fill(1)), datagram(4, 5, fill(5)))
	w := open(t, tr, 4)
	g, err := r.NextGroup(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, ok, err := g.poll(); ok || err != nil {
		t.Fatalf("object 1 is read while 0 may come: %t, %v", ok, err)
	}
	write(t, w, Object{ID: 0}, Object{ID: 3}, Object{ID: 7})
	closed(t, w)
	objects, err := readGroup(t, g)
	if got := fmt.Sprint(locations(objects)); got != "[4/0 4/1 4/3 4/5 4/7]" || err != nil {
		t.Errorf("read %s, %v", got, err)
	}
	if _, _, err := g.poll(); !errors.Is(err, io.EOF) {
		t.Errorf("the group ends with %v", err)
	}
}

func TestDatagramLimits(t *testing.T) {
	tr := newTestTrack(Config{MaxObject: 1000, MaxGroupBytes: 5000, MaxObjectsPerGroup: 3})
	if err := tr.WriteDatagram(datagram(0, 0, fill(1001))); !errors.Is(err, ErrLimit) {
		t.Errorf("a payload of 1001 bytes: %v", err)
	}
	if err := tr.WriteDatagram(Object{Status: ObjectEndOfGroup, Payload: fill(1)}); err == nil {
		t.Error("a mark with a payload is taken")
	}
	for id := range uint64(3) {
		putDatagrams(t, tr, datagram(0, id, nil))
	}
	if err := tr.WriteDatagram(datagram(0, 3, nil)); !errors.Is(err, ErrLimit) {
		t.Errorf("a fourth object: %v", err)
	}
	tr = newTestTrack(Config{MaxGroupBytes: 2500})
	var err error
	for id := uint64(0); err == nil && id < 10; id++ {
		err = tr.WriteDatagram(datagram(0, id, fill(800)))
	}
	if !errors.Is(err, ErrLimit) || tr.Bytes() > 2500 {
		t.Errorf("a group of %d bytes: %v", tr.Bytes(), err)
	}
	tr.End(DoneTrackEnded, "")
	if err := tr.WriteDatagram(datagram(0, 9, nil)); !errors.Is(err, ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}

// TestMaxCacheDuration is section 12.3: each object may be served for so long
// from when it came, and is unknown from then on.
func TestMaxCacheDuration(t *testing.T) {
	clock := newFakeClock()
	tr := New(testName, Info{Properties: NewProperties(Property{Type: 0x04, Uint: 3000})}, Config{Now: clock.Now})
	if d, ok := tr.MaxCache(); d != 3*time.Second || !ok {
		t.Fatalf("MaxCache() = %v, %t", d, ok)
	}
	w := open(t, tr, 0)
	write(t, w, Object{ID: 0})
	clock.advance(2 * time.Second)
	write(t, w, Object{ID: 1})
	f := tr.Fill(Range{Location{Group: 1}, Location{Group: 2}})
	if err := f.WriteObject(Object{Group: 1, ID: 0}); err != nil {
		t.Fatal(err)
	}
	f.Close()
	all := upTo(2, 0)
	for _, tt := range []struct {
		after time.Duration
		read  string
	}{
		{time.Second, "0/0 0/1 ?0/* 1/0"},
		{time.Millisecond, "?0/0 0/1 ?0/* 1/0"},
		{1999 * time.Millisecond, "?0/0 0/1 ?0/* 1/0"},
		{time.Millisecond, "?1/0"},
	} {
		clock.advance(tt.after)
		if got := readAll(tr.Fetch(all, Ascending)); got != tt.read {
			t.Errorf("after %v more: %s, want %s", tt.after, got, tt.read)
		}
	}
	tr.Expire(clock.Now())
	if len(tr.Groups()) != 1 || len(tr.filled) != 0 {
		t.Error("an open group is evicted, or a filled one is not")
	}
	closed(t, w)
	notified := countNotify(tr)
	tr.Expire(clock.Now())
	if len(tr.Groups()) != 0 || *notified == 0 {
		t.Error("a stale group is cached, or its readers sleep on")
	}
	if state, code := w.sub.State(); state != Aborted || code != ResetTooFarBehind {
		t.Errorf("its subgroup is %v with %v", state, code)
	}
}

// TestExpire evicts by age while nothing is written.
func TestExpire(t *testing.T) {
	clock := newFakeClock()
	tr := newTestTrack(Config{Now: clock.Now, MaxAge: 10 * time.Second})
	for id := range uint64(4) {
		putGroup(t, tr, id, 1, fill(10))
	}
	f := tr.Fill(Range{Location{Group: 7}, Location{Group: 8}})
	if err := f.WriteObject(Object{Group: 7, ID: 0}); err != nil {
		t.Fatal(err)
	}
	f.Close()
	reader := tr.Fetch(upTo(9, 0), Ascending)
	notified := countNotify(tr)
	clock.advance(10 * time.Second)
	if tr.Expire(clock.Now()); len(tr.Groups()) != 4 || *notified != 0 {
		t.Errorf("%d groups are left at the age, %d notifications", len(tr.Groups()), *notified)
	}
	if _, state := reader.Next(); state != FetchReady {
		t.Fatal("nothing to read")
	}
	clock.advance(time.Second)
	if tr.Expire(clock.Now()); len(tr.Groups()) != 2 || *notified == 0 {
		t.Errorf("%d groups are left, want the current and the last complete one", len(tr.Groups()))
	}
	if len(tr.filled) != 1 {
		t.Error("what a reader is on its way to is evicted")
	}
	clock.advance(11 * time.Second)
	if tr.Expire(clock.Now()); len(tr.filled) != 0 {
		t.Error("a reader that nobody uses keeps what was filled")
	}
	tr.Drop()
	if tr.Bytes() != 0 {
		t.Errorf("%d bytes are left", tr.Bytes())
	}
}

// TestFillerBackPressure has a Filler ask whether the reader keeps up.
func TestFillerBackPressure(t *testing.T) {
	tr := newTestTrack(Config{MaxBytes: 100_000})
	f := tr.Fill(upTo(1000, 0))
	r := tr.Fetch(upTo(1000, 0), Ascending)
	group := uint64(0)
	for ; !f.Full(); group++ {
		if err := f.WriteObject(Object{Group: group, Payload: fill(5000)}); err != nil {
			t.Fatal(err)
		}
	}
	if group < 8 || group > 12 {
		t.Errorf("full after %d groups of 5 kB", group)
	}
	notified := countNotify(tr)
	for range 2 {
		if _, state := r.Next(); state != FetchReady {
			t.Fatal("nothing to read")
		}
	}
	if *notified == 0 || f.Full() {
		t.Error("a reader that goes on makes no room")
	}
	for range group - 2 {
		if item, state := r.Next(); state != FetchReady || item.Kind != FetchObject {
			t.Fatalf("read %+v, %v", item, state)
		}
	}
}

func TestBudget(t *testing.T) {
	clock := newFakeClock()
	b := NewBudget(300_000)
	tracks := make([]*Track, 3)
	notified := make([]*int, len(tracks))
	for i := range tracks {
		tracks[i] = newTestTrack(Config{Budget: b, Now: clock.Now})
		notified[i] = countNotify(tracks[i])
	}
	sum := func() (n int64) {
		for _, tr := range tracks {
			n += tr.Bytes()
		}
		return n
	}
	for group := range uint64(20) {
		clock.advance(time.Millisecond)
		putGroup(t, tracks[0], group, 1, fill(20_000))
		if group < 4 {
			putGroup(t, tracks[1], group, 1, fill(20_000))
		}
		if got := b.Used(); got != sum() || got > b.Max()+50_000 {
			t.Fatalf("Used() = %d, the tracks charge %d", got, sum())
		}
	}
	if n, m := len(tracks[0].Groups()), len(tracks[1].Groups()); m != 4 || n < 5 {
		t.Errorf("%d and %d groups are left: the largest consumer goes first", n, m)
	}
	before := *notified[0]
	f := tracks[2].Fill(upTo(9, 0))
	for id := range uint64(9) {
		clock.advance(time.Millisecond)
		if err := f.WriteObject(Object{Group: 1, ID: id, Payload: fill(20_000)}); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	if b.Used() > b.Max() || *notified[0] == before {
		t.Errorf("%d bytes are used; a track that lost groups was notified: %t", b.Used(), *notified[0] > before)
	}
	for _, tr := range tracks {
		tr.Drop()
	}
	if b.Used() != 0 || len(b.tracks) != 0 {
		t.Errorf("%d bytes of %d tracks are left", b.Used(), len(b.tracks))
	}
	if none := (*Budget)(nil); none.Used() != 0 || none.Max() != 0 {
		t.Error("a nil Budget has a cap")
	}
}
