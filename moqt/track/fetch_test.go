package track

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/broadcastd/broadcastd/moqt/wire"
)

// readAll tells in short what a reader returns until it ends or waits:
// "1/2" is an object, "-1/5" says that nothing exists up to there, "?1/5" that
// nothing is known, "..." that it waits.
func readAll(r *FetchReader) string {
	short := func(l Location) string {
		if l.Object == math.MaxUint64 {
			return fmt.Sprintf("%d/*", l.Group)
		}
		return fmt.Sprintf("%d/%d", l.Group, l.Object)
	}
	var out []string
	for {
		item, state := r.Next()
		switch {
		case state == FetchEnd:
			return strings.Join(out, " ")
		case state == FetchWait:
			return strings.Join(append(out, "..."), " ")
		case item.Kind == FetchObject:
			out = append(out, short(item.Object.Location()))
		case item.Kind == FetchAbsent:
			out = append(out, "-"+short(item.To))
		default:
			out = append(out, "?"+short(item.To))
		}
	}
}

func upTo(group, object uint64) Range { return Range{End: Location{Group: group, Object: object}} }

func TestFetch(t *testing.T) {
	gap := func(n uint64) Properties { return NewProperties(Property{Type: PropPriorObjectIDGap, Uint: n}) }
	sub := func(t *testing.T, tr *Track, group, id uint64, end bool, objects ...Object) *SubgroupWriter {
		w, err := tr.Subgroup(SubgroupHeader{Group: group, Subgroup: id, Properties: true, FirstObject: true, EndOfGroup: end})
		if err != nil {
			t.Fatal(err)
		}
		write(t, w, objects...)
		return w
	}
	for _, tt := range []struct {
		name  string
		local bool
		put   func(t *testing.T, tr *Track)
		r     Range
		up    string // what is read, ascending
		down  string
	}{
		{
			"10.12.3 groups in order, objects by ID whatever the subgroup", false,
			func(t *testing.T, tr *Track) {
				closed(t, sub(t, tr, 1, 0, true, Object{ID: 0}, Object{ID: 1}))
				closed(t, sub(t, tr, 0, 1, false, Object{ID: 1}, Object{ID: 3}))
				closed(t, sub(t, tr, 0, 0, true, Object{ID: 0}, Object{ID: 2}, Object{ID: 4}))
			},
			upTo(2, 0), "0/0 0/1 0/2 0/3 0/4 1/0 1/1", "1/0 1/1 0/0 0/1 0/2 0/3 0/4",
		},
		{
			"11.4.2 a jump on a stream tells nothing of the IDs between", false,
			func(t *testing.T, tr *Track) { closed(t, sub(t, tr, 0, 0, true, Object{ID: 0}, Object{ID: 3})) },
			upTo(1, 0), "0/0 ?0/2 0/3", "0/0 ?0/2 0/3",
		},
		{
			"12.9 a gap property does", false,
			func(t *testing.T, tr *Track) {
				closed(t, sub(t, tr, 0, 0, true, Object{ID: 1, Properties: gap(1)}, Object{ID: 5, Properties: gap(2)}))
			},
			upTo(1, 0), "0/1 ?0/2 0/5", "0/1 ?0/2 0/5",
		},
		{
			"11.4.4.2 a marker splits what is absent from what is unknown", false,
			func(t *testing.T, tr *Track) {
				closed(t, sub(t, tr, 0, 0, false, Object{ID: 2, Properties: gap(2)}, Object{ID: 8, Properties: gap(2)}))
				closed(t, sub(t, tr, 2, 0, true, Object{ID: 0}, Object{ID: 1, Status: ObjectEndOfGroup}))
			},
			upTo(2, 9), "0/2 ?0/5 0/8 ?1/* 2/0", "2/0 -2/8 ?1/* 0/2 ?0/5 0/8 ?0/*",
		},
		{
			"12.8 groups that do not exist", false,
			func(t *testing.T, tr *Track) {
				closed(t, sub(t, tr, 9, 0, true, Object{ID: 0, Properties: NewProperties(Property{Type: PropPriorGroupIDGap, Uint: 4})}))
			},
			upTo(10, 0), "?4/* 9/0", "9/0 -5/* ?0/*",
		},
		{
			"11.2.1.1 the end of the track", false,
			func(t *testing.T, tr *Track) {
				closed(t, sub(t, tr, 0, 0, false, Object{ID: 0}, Object{ID: 1, Status: ObjectEndOfTrack}))
			},
			upTo(1<<60, 0), "0/0", "0/0",
		},
		{
			"11.4.2 the END_OF_GROUP bit counts with the FIN", false,
			func(t *testing.T, tr *Track) {
				sub(t, tr, 0, 0, true, Object{ID: 0})
				sub(t, tr, 1, 0, true, Object{ID: 0}).Abort(ResetCancelled)
				closed(t, sub(t, tr, 2, 0, true, Object{ID: 0}))
			},
			upTo(3, 0), "0/0 ?0/* 1/0 ?1/* 2/0", "2/0 1/0 ?1/* 0/0 ?0/*",
		},
		{
			"2.1 what a publisher in this process never wrote does not exist", true,
			func(t *testing.T, tr *Track) {
				closed(t, sub(t, tr, 3, 0, false, Object{ID: 2}, Object{ID: 5}))
				closed(t, sub(t, tr, 7, 0, false, Object{ID: 1}))
			},
			upTo(9, 0), "3/2 3/5 7/1", "7/1 3/2 3/5",
		},
		{
			"2.1 what was evicted is unknown", true,
			func(t *testing.T, tr *Track) {
				for id := range uint64(5) {
					closed(t, sub(t, tr, 2*id, 0, true, Object{ID: 0}))
				}
			},
			upTo(9, 0), "?4/* 6/0 8/0", "8/0 6/0 -5/* ?0/*",
		},
		{
			"10.12.3 an object that is arriving is waited for", false,
			func(t *testing.T, tr *Track) {
				w := sub(t, tr, 0, 0, true, Object{ID: 0})
				b := stream(true, Object{ID: 0}, Object{ID: 1, Payload: fill(10)})
				if _, err := w.Write(b[len(stream(true, Object{ID: 0})) : len(b)-1]); err != nil {
					t.Fatal(err)
				}
			},
			upTo(0, 2), "0/0 ...", "0/0 ...",
		},
		{
			"an object that was cut is unknown", false,
			func(t *testing.T, tr *Track) {
				w := sub(t, tr, 0, 0, true)
				if _, err := w.Write(stream(true, Object{ID: 0, Payload: fill(10)})[:5]); err != nil {
					t.Fatal(err)
				}
				w.Abort(ResetCancelled)
			},
			upTo(0, 1), "?0/0", "?0/0",
		},
		{
			"a start in the middle of a group", false,
			func(t *testing.T, tr *Track) {
				closed(t, sub(t, tr, 2, 0, true, Object{ID: 0}, Object{ID: 1}, Object{ID: 2}))
			},
			Range{Location{Group: 0, Object: 4}, Location{Group: 2, Object: 2}},
			"?1/* 2/0 2/1", "2/0 2/1 ?0/*",
		},
		{"an empty range", false, func(*testing.T, *Track) {}, Range{Location{Group: 1}, Location{Group: 1}}, "", ""},
		{
			"all there can be", false, func(*testing.T, *Track) {},
			Range{End: last},
			fmt.Sprintf("?%d/%d", uint64(math.MaxUint64), uint64(math.MaxUint64-1)), "?0/*",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := New(testName, Info{Local: tt.local}, Config{MaxGroups: 3})
			if tt.local {
				tr.cfg.MaxGroups = 2
			}
			tt.put(t, tr)
			if got := readAll(tr.Fetch(tt.r, Ascending)); got != tt.up {
				t.Errorf("ascending: %s, want %s", got, tt.up)
			}
			if got := readAll(tr.Fetch(tt.r, Descending)); got != tt.down {
				t.Errorf("descending: %s, want %s", got, tt.down)
			}
		})
	}
}

// TestFill has Fillers bring a response to Range {0,0} to {4,0} and reads it
// after each item.
func TestFill(t *testing.T) {
	object := func(group, id uint64) Object {
		return Object{Group: group, ID: id, Priority: DefaultPriority, Payload: fill(20)}
	}
	at := func(group, id uint64) Location { return Location{Group: group, Object: id} }
	all := upTo(4, 0)
	for _, tt := range []struct {
		name  string
		order GroupOrder
		steps []func(f *Filler) error
		reads []string // ascending, after each step
		end   func(f *Filler)
		want  string
	}{
		{
			"10.12.3 what an ascending response leaves out does not exist", Ascending,
			[]func(f *Filler) error{
				func(f *Filler) error { return f.WriteObject(object(0, 2)) },
				func(f *Filler) error { return f.WriteObject(object(2, 1)) },
			},
			[]string{"0/2 ...", "0/2 2/1 ..."},
			(*Filler).Close, "0/2 2/1",
		},
		{
			"10.12.3 a descending one that nobody has announced", 0,
			[]func(f *Filler) error{
				func(f *Filler) error { return f.WriteObject(object(3, 1)) },
				func(f *Filler) error { return f.WriteObject(object(1, 1)) },
				func(f *Filler) error { return f.WriteObject(object(1, 2)) },
			},
			[]string{"...", "...", "..."},
			(*Filler).Close, "1/1 1/2 3/1",
		},
		{
			"11.4.4.2 ranges of both kinds", Ascending,
			[]func(f *Filler) error{
				func(f *Filler) error { return f.Absent(at(0, 3)) },
				func(f *Filler) error { return f.Unknown(at(1, 5)) },
				func(f *Filler) error { return f.WriteObject(object(1, 8)) },
			},
			[]string{"...", "-0/3 ?1/5 ...", "-0/3 ?1/5 1/8 ..."},
			(*Filler).Close, "-0/3 ?1/5 1/8",
		},
		{
			"11.4.4.2 ranges of a descending response", Descending,
			[]func(f *Filler) error{
				func(f *Filler) error { return f.Unknown(at(2, math.MaxUint64)) },
				func(f *Filler) error { return f.WriteObject(object(1, 8)) },
			},
			[]string{"...", "..."},
			(*Filler).Close, "1/8 -1/* ?3/*",
		},
		{
			"a response that is cut leaves the rest unknown", Ascending,
			[]func(f *Filler) error{func(f *Filler) error { return f.WriteObject(object(1, 0)) }},
			[]string{"1/0 ..."},
			func(f *Filler) { f.Abort(ResetCancelled) }, "1/0 ?3/*",
		},
		{"an empty response", Ascending, nil, nil, (*Filler).Close, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := newTestTrack(Config{})
			f := tr.Fill(all)
			f.SetOrder(tt.order)
			waiting := tr.Fetch(all, Ascending)
			for i, step := range tt.steps {
				if err := step(f); err != nil {
					t.Fatal(err)
				}
				if got := readAll(tr.Fetch(all, Ascending)); got != tt.reads[i] {
					t.Errorf("after step %d: %s, want %s", i, got, tt.reads[i])
				}
			}
			if got := tr.Unknown(all, 1); len(tt.steps) < 2 && len(got) > 0 {
				t.Errorf("Unknown lists %v, which is being filled", got)
			}
			if _, state := waiting.Next(); len(tt.steps) == 0 && state != FetchWait {
				t.Error("a reader does not wait for the filler")
			}
			tt.end(f)
			if got := readAll(tr.Fetch(all, Ascending)); got != tt.want {
				t.Errorf("at the end: %s, want %s", got, tt.want)
			}
			if err := f.WriteObject(object(3, 9)); !errors.Is(err, ErrClosed) {
				t.Errorf("WriteObject after the end = %v", err)
			}
			if subgroups, next := tr.Since(0); len(subgroups) > 0 || next > 0 {
				t.Error("subscriptions are told of what was filled")
			}
			tr.Drop()
			if n := tr.Bytes(); n != 0 {
				t.Errorf("%d bytes are left", n)
			}
		})
	}
}

func TestFillRefusals(t *testing.T) {
	object := func(group, id uint64) Object {
		return Object{Group: group, ID: id, Priority: DefaultPriority, Payload: []byte("same")}
	}
	other := func(o Object, change func(*Object)) Object { change(&o); return o }
	put := func(t *testing.T, tr *Track) {
		w := open(t, tr, 1)
		write(t, w, Object{ID: 0, Payload: []byte("same")}, Object{ID: 1, Payload: []byte("same")})
		closed(t, w)
	}
	for _, tt := range []struct {
		name string
		o    Object
		want error
	}{
		{"the same object", object(1, 1), nil},
		{"another group", object(0, 1), nil},
		{"2.4.2 another payload", other(object(1, 1), func(o *Object) { o.Payload = []byte("else") }), wire.ErrMalformedTrack},
		{"2.4.2 another priority", other(object(1, 1), func(o *Object) { o.Priority++ }), wire.ErrMalformedTrack},
		{"2.4.2 another subgroup", other(object(1, 1), func(o *Object) { o.Subgroup++ }), wire.ErrMalformedTrack},
		{"2.4.2 another forwarding preference", other(object(1, 1), func(o *Object) { o.Datagram = true }), wire.ErrMalformedTrack},
		{
			"2.4.2 other immutable properties",
			other(object(1, 1), func(o *Object) {
				o.Properties = NewProperties(Property{Type: PropImmutable, Bytes: NewProperties(Property{Type: 2})})
			}),
			wire.ErrMalformedTrack,
		},
		{"2.4.2 an object after the end of its group", object(1, 2), wire.ErrMalformedTrack},
		{
			"12.9 a gap over an object",
			other(object(0, 5), func(o *Object) {
				o.Group, o.ID = 3, 3
				o.Properties = NewProperties(Property{Type: PropPriorGroupIDGap, Uint: 2})
			}),
			wire.ErrMalformedTrack,
		},
		{"too large", other(object(0, 1), func(o *Object) { o.Payload = fill(1001) }), ErrLimit},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tr := newTestTrack(Config{MaxObject: 1000})
			put(t, tr)
			err := tr.Fill(upTo(9, 0)).WriteObject(tt.o)
			if !errors.Is(err, tt.want) {
				t.Errorf("WriteObject = %v, want %v", err, tt.want)
			}
			if got := readAll(tr.Fetch(Range{Location{Group: 1}, Location{Group: 2}}, Ascending)); got != "1/0 1/1" {
				t.Errorf("group 1 reads %s", got)
			}
		})
	}
	t.Run("out of the range, or of order", func(t *testing.T) {
		f := newTestTrack(Config{}).Fill(upTo(4, 2))
		for _, tt := range []struct {
			o  Object
			ok bool
		}{
			{object(4, 2), false},
			{object(1, 5), true},
			{object(1, 5), false},
			{object(1, 4), false},
			{object(3, 0), true},
			{object(2, 0), false},
			{object(4, 1), true},
		} {
			if err := f.WriteObject(tt.o); (err == nil) != tt.ok {
				t.Errorf("WriteObject(%v) = %v", tt.o.Location(), err)
			}
		}
	})
}

func TestFetchReadWaits(t *testing.T) {
	tr := newTestTrack(Config{})
	f := tr.Fill(upTo(1, 0))
	go func() {
		if err := f.WriteObject(Object{ID: 3}); err != nil {
			t.Error(err)
		}
		f.Close()
	}()
	r := tr.Fetch(upTo(1, 0), Ascending)
	if item, err := r.Read(t.Context()); err != nil || item.Object.ID != 3 {
		t.Fatalf("Read = %+v, %v", item, err)
	}
	if _, err := r.Read(t.Context()); !errors.Is(err, io.EOF) {
		t.Fatalf("Read at the end = %v", err)
	}
}

func TestGiveUp(t *testing.T) {
	tr := newTestTrack(Config{})
	putGroup(t, tr, 1, 1, nil)
	tr.Fill(upTo(2, 0))
	r := tr.Fetch(upTo(2, 0), Ascending)
	if got := readAll(r); got != "..." {
		t.Fatalf("read %s", got)
	}
	r.GiveUp()
	if got := readAll(r); got != "?0/* 1/0" {
		t.Errorf("read %s", got)
	}
}

func TestReport(t *testing.T) {
	tr := newTestTrack(Config{})
	f := &flagged{wake: make(chan struct{}, 1)}
	tr.Attach(f)
	for _, tt := range []struct{ report, want Location }{
		{Location{Group: 3, Object: 4}, Location{Group: 3, Object: 4}},
		{Location{Group: 2, Object: 9}, Location{Group: 3, Object: 4}},
		{Location{Group: 3, Object: 5}, Location{Group: 3, Object: 5}},
	} {
		f.dirty.Store(false)
		before, _ := tr.Largest()
		tr.Report(tt.report)
		if got, ok := tr.Largest(); got != tt.want || !ok {
			t.Errorf("Largest() = %v, want %v", got, tt.want)
		}
		if woken := f.dirty.Load(); woken != (before != tt.want) {
			t.Errorf("report of %v wakes: %t", tt.report, woken)
		}
	}
}
