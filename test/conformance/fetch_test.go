package conformance_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A fetched is a fetch stream that was read to its end.
type fetched struct {
	id       uint64
	items    []wire.FetchObject
	payloads []string // of the objects, "" of markers
	err      error    // nil after FIN
}

// String lists the locations of the objects and, with a sign, of the markers.
func (f fetched) String() string {
	var b strings.Builder
	for _, o := range f.items {
		switch o.Range {
		case wire.FetchNonExistent:
			b.WriteString("-")
		case wire.FetchUnknown:
			b.WriteString("?")
		case wire.FetchNoRange:
		}
		fmt.Fprintf(&b, "%d/%d ", o.Group, o.Object)
	}
	return strings.TrimSpace(b.String())
}

// parseFetch parses a fetch stream.
func parseFetch(t *testing.T, b []byte, end error, order wire.GroupOrder) (f fetched) {
	t.Helper()
	h, n, err := wire.ParseFetchHeader(b)
	if err != nil {
		t.Fatalf("fetch stream %x: %v", b, err)
	}
	f.id, f.err = h.RequestID, end
	r := wire.NewFetchReader(order)
	for b = b[n:]; len(b) > 0; {
		o, n, err := r.Parse(b)
		if err != nil || uint64(len(b)-n) < o.Length {
			if end == nil {
				t.Fatalf("FIN inside an object: %x, %v", b, err)
			}
			return f
		}
		end := n + int(o.Length)
		o.Properties = slices.Clone(o.Properties)
		f.items, f.payloads = append(f.items, o), append(f.payloads, string(b[n:end]))
		b = b[end:]
	}
	return f
}

func readFetch(t *testing.T, st *moqttest.PeerStream, order wire.GroupOrder) fetched {
	t.Helper()
	b, err := st.ReadAll()
	return parseFetch(t, b, err, order)
}

// fetch asks for a range, end as on the wire: one past the last object, or
// object 0 for the whole group.
func (p *peer) fetch(start, end wire.Location, params wire.Params) *moqttest.PeerStream {
	return p.Open(wire.Fetch{RequestID: p.id(), FetchType: wire.FetchStandalone, Track: video, Start: start, End: end, Params: params})
}

func at(group, object uint64) wire.Location { return wire.Location{Group: group, Object: object} }

// asksFetch takes the next request of the relay, which must be a FETCH.
func (p *peer) asksFetch(t *testing.T) (wire.Fetch, *moqttest.PeerStream) {
	t.Helper()
	st := p.Accept()
	return message[wire.Fetch](t, st, 0), st
}

// answers opens the data stream of a FETCH upstream.
func (p *peer) answers(t *testing.T, id uint64, items ...wire.FetchObject) *moqttest.PeerStream {
	t.Helper()
	b := wire.FetchHeader{RequestID: id}.Append(nil)
	w := wire.NewFetchWriter(wire.GroupAscending)
	for _, o := range items {
		if o.Range == wire.FetchNoRange {
			o.Length = 1
		}
		var err error
		if b, err = w.Append(b, o); err != nil {
			t.Fatal(err)
		}
		if o.Range == wire.FetchNoRange {
			b = append(b, 'f')
		}
	}
	return p.OpenUni(b)
}

// cached runs f with a track of which the relay has these groups, of the
// objects 0 and 1 each.
func cached(t *testing.T, ok wire.SubscribeOK, groups []uint64, f func(*testing.T, *live, *peer)) {
	t.Helper()
	through(t, relay.Config{}, ok, wire.Params{}, func(t *testing.T, l *live) {
		for _, g := range groups {
			l.send(header(l.alias, g), object("a"), object("b")).Close()
			l.sub.groups(t, 1)
		}
		f(t, l, l.peer())
	})
}

// aroundTheHole are the groups 1 and 3, where nothing is known of group 2. That
// group 1 has no more objects may be told, because the range that is unknown
// would else begin there.
var aroundTheHole = regexp.MustCompile(`^1/0 1/1 (-1/\d+ )?\?2/\d+ 3/0 3/1$`)

// TestFetch is about FETCH through the relay, in both directions.
func TestFetch(t *testing.T) {
	from := func(name string, groups []uint64, f func(*testing.T, *live, *peer)) {
		t.Run(name, func(t *testing.T) { cached(t, wire.SubscribeOK{}, groups, f) })
	}
	whole := []uint64{1, 2, 3}
	hole := []uint64{1, 3}
	accepted := func(t *testing.T, st *moqttest.PeerStream) wire.FetchOK {
		t.Helper()
		return message[wire.FetchOK](t, st, wire.TypeFetch)
	}
	for _, tt := range []struct {
		name       string
		start, end wire.Location
		want       string
		told       wire.Location // the end in FETCH_OK
	}{
		{"a_whole_group", at(2, 0), at(2, 0), "2/0 2/1", at(2, 0)},
		{"one_object", at(2, 0), at(2, 1), "2/0", at(2, 1)},
		{"the_last_of_a_group", at(2, 1), at(2, 2), "2/1", at(2, 2)},
		{"into_the_next_group", at(1, 1), at(2, 1), "1/1 2/0", at(2, 1)},
		{"up_to_largest", at(1, 0), at(3, 2), "1/0 1/1 2/0 2/1 3/0 3/1", at(3, 2)},
		{"beyond_largest", at(3, 0), at(9, 0), "3/0 3/1", at(3, 2)},
		{"beyond_the_end_of_a_group", at(2, 1), at(2, 9), "2/1", at(2, 9)},
		{"behind_the_end_of_a_group", at(2, 5), at(2, 9), "", at(2, 9)},
	} {
		from("10.12.3_end_"+tt.name, whole, func(t *testing.T, l *live, p *peer) {
			st := p.fetch(tt.start, tt.end, wire.Params{})
			ok := accepted(t, st)
			f := readFetch(t, p.AcceptUni(), wire.GroupAscending)
			if f.String() != tt.want || f.err != nil || f.id != 0 {
				t.Errorf("got %q, %v, want %q", f, f.err, tt.want)
			}
			if ok.End != tt.told || ok.EndOfTrack {
				t.Errorf("FETCH_OK says %v, end of track %t, want %v", ok.End, ok.EndOfTrack, tt.told)
			}
			l.pub.noRequest(t, "everything is here")
		})
	}
	from("10.12.3_end_of_track", nil, func(t *testing.T, l *live, p *peer) {
		l.send(header(l.alias, 1), object("a"), objectOf(wire.ObjectHeader{Status: wire.ObjectEndOfTrack}, false, "")).Close()
		l.sub.groups(t, 1)
		ok := accepted(t, p.fetch(at(1, 0), at(5, 0), wire.Params{}))
		if f := readFetch(t, p.AcceptUni(), wire.GroupAscending); f.String() != "1/0" || f.err != nil || !ok.EndOfTrack {
			t.Errorf("got %q, %v, end of track %t, want 1/0 and true", f, f.err, ok.EndOfTrack)
		}
	})
	from("10.12.3_order", nil, func(t *testing.T, l *live, p *peer) {
		for g := uint64(1); g < 3; g++ {
			for s := range uint64(2) {
				h := wire.SubgroupHeader{Alias: l.alias, Group: g, Subgroup: s, DefaultPriority: true, EndOfGroup: s == 1, FirstObject: true}
				l.send(h, objectOf(wire.ObjectHeader{IDDelta: s}, false, "x"), objectOf(wire.ObjectHeader{IDDelta: 1}, false, "y")).Close()
			}
			l.sub.groups(t, 2)
		}
		for order, want := range map[wire.GroupOrder]string{
			wire.GroupOrderUnset: "1/0 1/1 1/2 1/3 2/0 2/1 2/2 2/3",
			wire.GroupAscending:  "1/0 1/1 1/2 1/3 2/0 2/1 2/2 2/3",
			wire.GroupDescending: "2/0 2/1 2/2 2/3 1/0 1/1 1/2 1/3",
		} {
			accepted(t, p.fetch(at(1, 0), at(2, 0), wire.Params{GroupOrder: order}))
			if f := readFetch(t, p.AcceptUni(), order); f.String() != want || f.err != nil {
				t.Errorf("%v: got %q, %v, want %q", order, f, f.err, want)
			}
		}
	})
	from("10.12.3_start_beyond_largest", whole, func(t *testing.T, l *live, p *peer) {
		p.fetch(at(3, 2), at(3, 3), wire.Params{}).ExpectError(wire.RequestInvalidRange, wire.TypeFetch)
		p.fetch(at(4, 0), at(5, 0), wire.Params{}).ExpectError(wire.RequestInvalidRange, wire.TypeFetch)
	})
	from("10.12.3_nothing_published", nil, func(t *testing.T, l *live, p *peer) {
		p.fetch(at(0, 0), at(1, 0), wire.Params{}).ExpectError(wire.RequestInvalidRange, wire.TypeFetch)
	})
	from("10.12.3_backwards", whole, func(t *testing.T, l *live, p *peer) {
		p.fetch(at(2, 1), at(2, 1), wire.Params{}).ExpectError(wire.RequestInvalidRange, wire.TypeFetch)
		p.fetch(at(2, 0), at(1, 0), wire.Params{}).ExpectError(wire.RequestInvalidRange, wire.TypeFetch)
	})
	from("10.12.3_hole", hole, func(t *testing.T, l *live, p *peer) {
		down := p.fetch(at(1, 0), at(3, 0), wire.Params{})
		m, up := l.pub.asksFetch(t)
		if m.Track != video || at(2, 0).Less(m.Start) || wire.FetchLast(m.End).Less(at(2, 1000)) {
			t.Fatalf("upstream is asked for %+v, want group 2", m)
		}
		l.pub.noRequest(t, "one request is enough")
		accepted(t, down)
		data := p.AcceptUni()
		time.Sleep(time.Second)
		up.Send(wire.FetchOK{End: m.End})
		l.pub.answers(t, m.RequestID, wire.FetchObject{Group: 2}, wire.FetchObject{Group: 2, Object: 4}).Close()
		f := readFetch(t, data, wire.GroupAscending)
		if f.String() != "1/0 1/1 2/0 2/4 3/0 3/1" || f.err != nil {
			t.Errorf("got %q, %v", f, f.err)
		}
		// What upstream has told is known from now on.
		accepted(t, p.fetch(at(2, 0), at(2, 0), wire.Params{}))
		if f := readFetch(t, p.AcceptUni(), wire.GroupAscending); f.String() != "2/0 2/4" || f.err != nil {
			t.Errorf("again: got %q, %v", f, f.err)
		}
		l.pub.noRequest(t, "asked before")
	})
	from("10.12.3_nothing_behind_a_hole", hole, func(t *testing.T, l *live, p *peer) {
		p.fetch(at(1, 0), at(3, 0), wire.Params{})
		l.pub.asksFetch(t)
		data := p.AcceptUni()
		_ = data
		synctest.Wait()
		l.pub.cut() // nobody else can tell
		f := readFetch(t, data, wire.GroupAscending)
		if s := f.String(); strings.Contains(s, "3/0") && !strings.Contains(s, "?2/") && !strings.Contains(s, "?3/") || f.err == nil && !strings.Contains(s, "?") {
			t.Errorf("got %q, %v: what is unknown counts as missing", f, f.err)
		}
	})
	from("10.12.3_sparse_groups", []uint64{1}, func(t *testing.T, l *live, p *peer) {
		h := header(l.alias, 10)
		h.Properties = true
		gap := wire.NewProperties(wire.KeyValue{Type: wire.PropPriorGroupIDGap, Uint: 8})
		l.send(h, objectOf(wire.ObjectHeader{Properties: gap}, true, "a")).Close()
		l.sub.groups(t, 1)
		accepted(t, p.fetch(at(1, 0), at(10, 0), wire.Params{}))
		if f := readFetch(t, p.AcceptUni(), wire.GroupAscending); f.String() != "1/0 1/1 10/0" || f.err != nil {
			t.Errorf("got %q, %v", f, f.err)
		}
		l.pub.noRequest(t, "groups that are known not to exist")
	})
	from("10.12.3_upstream_fails", hole, func(t *testing.T, l *live, p *peer) {
		p.fetch(at(1, 0), at(3, 0), wire.Params{})
		_, up := l.pub.asksFetch(t)
		up.Send(wire.RequestError{Code: wire.RequestInternalError})
		up.Close()
		f := readFetch(t, p.AcceptUni(), wire.GroupAscending)
		if f.err == nil && !aroundTheHole.MatchString(f.String()) {
			t.Errorf("got %q, %v, want group 2 to be unknown", f, f.err)
		}
	})
	from("10.2.5_fill_timeout", hole, func(t *testing.T, l *live, p *peer) {
		start := time.Now()
		p.fetch(at(1, 0), at(3, 0), wire.Params{FillTimeout: ms(500)})
		if m, _ := l.pub.asksFetch(t); m.Params.FillTimeout == nil || *m.Params.FillTimeout != 500*time.Millisecond {
			t.Errorf("upstream may take %v, want 500ms", m.Params.FillTimeout)
		}
		f := readFetch(t, p.AcceptUni(), wire.GroupAscending)
		if took := time.Since(start); took != 500*time.Millisecond {
			t.Errorf("given up after %v, want 500ms", took)
		}
		if !aroundTheHole.MatchString(f.String()) || f.err != nil {
			t.Errorf("got %q, %v, want the objects of groups 1 and 3, and unknown between", f, f.err)
		}
	})
	from("10.2.5_only_what_is_cached", hole, func(t *testing.T, l *live, p *peer) {
		accepted(t, p.fetch(at(1, 0), at(3, 0), wire.Params{FillTimeout: ms(0)}))
		f := readFetch(t, p.AcceptUni(), wire.GroupAscending)
		if !aroundTheHole.MatchString(f.String()) || f.err != nil {
			t.Errorf("got %q, %v, want the objects of groups 1 and 3, and unknown between", f, f.err)
		}
		l.pub.noRequest(t, "nothing is waited for")
	})
	from("9.1_fields_from_the_cache", nil, func(t *testing.T, l *live, p *peer) {
		h := wire.SubgroupHeader{Alias: l.alias, Group: 3, Subgroup: 4, Priority: 77, Properties: true, EndOfGroup: true, FirstObject: true}
		l.send(h, objectOf(wire.ObjectHeader{IDDelta: 6, Properties: odd}, true, "a")).Close()
		l.sub.groups(t, 1)
		accepted(t, p.fetch(at(3, 6), at(3, 7), wire.Params{}))
		f := readFetch(t, p.AcceptUni(), wire.GroupAscending)
		if len(f.items) != 1 || f.payloads[0] != "a" {
			t.Fatalf("got %q", f)
		}
		if o := f.items[0]; o.Subgroup != 4 || o.Priority != 77 || string(o.Properties) != string(odd) || o.Datagram {
			t.Errorf("got %+v", o)
		}
	})
	t.Run("9.6_track_properties", func(t *testing.T) {
		props := wire.Properties("\x02\x89\xc4" + "\x0e\x80\x40" + "\x6a\x07")
		cached(t, wire.SubscribeOK{Properties: props}, whole, func(t *testing.T, l *live, p *peer) {
			if ok := accepted(t, p.fetch(at(1, 0), at(1, 0), wire.Params{})); string(ok.Properties) != string(props) {
				t.Errorf("FETCH_OK has %x, want %x", ok.Properties, props)
			}
		})
	})
	t.Run("9.4_FETCH_OK_waits", func(t *testing.T) {
		run(t, relay.Config{}, func(t *testing.T, n *net) {
			pub, p := n.peer(), n.peer()
			pub.announce(cam)
			down := p.fetch(at(1, 0), at(1, 0), wire.Params{})
			largest := wire.Params{LargestObject: &wire.Location{Group: 3, Object: 1}}
			for asked := false; !asked; {
				st := pub.Accept()
				time.Sleep(time.Second)
				silent(t, "before upstream has told the end", down)
				typ, body := st.Message()
				m, err := wire.ParseMessage(typ, body, 0)
				if err != nil {
					t.Fatal(err)
				}
				switch m := m.(type) {
				case wire.Subscribe:
					st.Send(wire.SubscribeOK{TrackAlias: 5, Params: largest})
					asked = true
				case wire.TrackStatus:
					st.Send(wire.RequestOK{Params: largest})
					asked = true
				case wire.Fetch:
					st.Send(wire.FetchOK{End: m.End})
					asked = true
				default:
					t.Fatalf("upstream is asked %+v", m)
				}
			}
			if ok := accepted(t, down); ok.End != at(1, 0) {
				t.Errorf("FETCH_OK says %v, want {1, 0}", ok.End)
			}
		})
	})
	from("2.4.2_malformed_track", hole, func(t *testing.T, l *live, p *peer) {
		p.fetch(at(1, 0), at(3, 0), wire.Params{})
		l.pub.asksFetch(t)
		data := p.AcceptUni()
		l.send(header(l.alias, 4), object("x"), objectOf(wire.ObjectHeader{Status: wire.ObjectEndOfGroup}, false, ""), object("y"))
		data.ExpectReset(wire.ResetMalformedTrack)
		p.ExpectOpen()
	})
	from("2.5.1_mandatory_property", hole, func(t *testing.T, l *live, p *peer) {
		p.fetch(at(1, 0), at(3, 0), wire.Params{})
		m, up := l.pub.asksFetch(t)
		up.Send(wire.FetchOK{End: m.End, Properties: wire.NewProperties(wire.KeyValue{Type: 0x4000})})
		up.ExpectStop(wire.ResetCancelled)
		l.pub.ExpectOpen()
		f := readFetch(t, p.AcceptUni(), wire.GroupAscending)
		if f.err == nil && !strings.Contains(f.String(), "?") {
			t.Errorf("got %q and FIN", f)
		}
	})
	from("5.1_joining_location", whole, func(t *testing.T, l *live, p *peer) {
		id := p.next
		st := p.subscribe(video, wire.Params{})
		if got := message[wire.SubscribeOK](t, st, wire.TypeSubscribe).Params.LargestObject; got == nil || *got != at(3, 1) {
			t.Fatalf("LARGEST_OBJECT is %v", got)
		}
		p.groups(t, 1) // the current group
		l.send(header(l.alias, 4), object("later")).Close()
		p.groups(t, 1)
		for _, tt := range []struct {
			typ   wire.FetchType
			start uint64
			want  string
		}{
			{wire.FetchRelativeJoining, 0, "3/0 3/1"},
			{wire.FetchRelativeJoining, 1, "2/0 2/1 3/0 3/1"},
			{wire.FetchAbsoluteJoining, 1, "1/0 1/1 2/0 2/1 3/0 3/1"},
			{wire.FetchAbsoluteJoining, 3, "3/0 3/1"},
		} {
			down := p.Open(wire.Fetch{RequestID: p.id(), FetchType: tt.typ, JoiningRequestID: id, JoiningStart: tt.start})
			if ok := accepted(t, down); ok.End != at(3, 2) {
				t.Errorf("%v %d: FETCH_OK says %v, want {3, 2}", tt.typ, tt.start, ok.End)
			}
			if f := readFetch(t, p.AcceptUni(), wire.GroupAscending); f.String() != tt.want || f.err != nil {
				t.Errorf("%v %d: got %q, %v, want %q", tt.typ, tt.start, f, f.err, tt.want)
			}
		}
	})
	join := func(p *peer, id uint64) *moqttest.PeerStream {
		return p.Open(wire.Fetch{RequestID: p.id(), FetchType: wire.FetchRelativeJoining, JoiningRequestID: id})
	}
	from("10.12.2_forward_0", whole, func(t *testing.T, l *live, p *peer) {
		id := p.next
		message[wire.SubscribeOK](t, p.subscribe(video, wire.Params{Forward: new(false)}), wire.TypeSubscribe)
		join(p, id).ExpectError(wire.RequestInvalidRange, wire.TypeFetch)
	})
	from("10.12.2_update_before", whole, func(t *testing.T, l *live, p *peer) {
		id := p.next
		st := p.subscribe(video, wire.Params{Forward: new(false)})
		message[wire.SubscribeOK](t, st, wire.TypeSubscribe)
		st.Send(wire.RequestUpdate{RequestID: p.id(), Params: wire.Params{Forward: new(true)}})
		synctest.Wait() // streams are not ordered
		accepted(t, join(p, id))
	})
	from("10.12.2_nothing_published", nil, func(t *testing.T, l *live, p *peer) {
		id := p.next
		message[wire.SubscribeOK](t, p.subscribe(video, wire.Params{}), wire.TypeSubscribe)
		join(p, id).ExpectError(wire.RequestInvalidRange, wire.TypeFetch)
	})
	from("10.12.2_no_subscription", whole, func(t *testing.T, l *live, p *peer) {
		join(p, 1000).ExpectError(wire.RequestInvalidJoiningRequestID, wire.TypeFetch)
		id := p.next
		space := p.Open(wire.PublishNamespace{RequestID: p.id(), Namespace: ns("x")})
		space.Expect(wire.RequestOK{})
		join(p, id).ExpectError(wire.RequestInvalidJoiningRequestID, wire.TypeFetch)
		id = p.next
		st := p.subscribe(video, wire.Params{})
		message[wire.SubscribeOK](t, st, wire.TypeSubscribe)
		st.Stop(wire.ResetCancelled)
		st.Reset(wire.ResetCancelled)
		synctest.Wait()
		join(p, id).ExpectError(wire.RequestInvalidJoiningRequestID, wire.TypeFetch)
	})
	t.Run("10.12.2_of_a_subscription_that_waits", func(t *testing.T) {
		run(t, relay.Config{}, func(t *testing.T, n *net) {
			pub, p := n.peer(), n.peer()
			pub.announce(cam)
			sub := p.subscribe(video, wire.Params{})
			_, up := pub.asked(t)
			down := join(p, 0)
			time.Sleep(time.Second)
			silent(t, "before the subscription is accepted", down)
			up.Send(wire.SubscribeOK{TrackAlias: 5, Params: wire.Params{LargestObject: &wire.Location{Group: 3, Object: 1}}})
			message[wire.SubscribeOK](t, sub, wire.TypeSubscribe)
			if ok := accepted(t, down); ok.End != at(3, 2) {
				t.Errorf("FETCH_OK says %v, want {3, 2}", ok.End)
			}
		})
	})
	from("5.2_one_answer", whole, func(t *testing.T, l *live, p *peer) {
		st := p.fetch(at(1, 0), at(1, 0), wire.Params{})
		accepted(t, st)
		readFetch(t, p.AcceptUni(), wire.GroupAscending)
		if b, err := st.ReadAll(); len(b) > 0 {
			t.Errorf("behind FETCH_OK: %x, %v", b, err)
		}
	})
	from("5.2_STOP_SENDING", hole, func(t *testing.T, l *live, p *peer) {
		st := p.fetch(at(1, 0), at(3, 0), wire.Params{})
		l.pub.asksFetch(t)
		accepted(t, st)
		data := p.AcceptUni()
		st.Stop(wire.ResetCancelled)
		data.ExpectReset(wire.ResetCancelled)
		st.ExpectStop(wire.ResetCancelled)
		p.ExpectOpen()
	})
	from("5.2_upstream_is_cancelled", hole, func(t *testing.T, l *live, p *peer) {
		st := p.fetch(at(1, 0), at(3, 0), wire.Params{})
		_, up := l.pub.asksFetch(t)
		p.AcceptUni()
		st.Stop(wire.ResetCancelled)
		st.Reset(wire.ResetCancelled)
		up.ExpectStop(wire.ResetCancelled)
	})
	from("10.9.1_update", hole, func(t *testing.T, l *live, p *peer) {
		st := p.fetch(at(1, 0), at(3, 0), wire.Params{})
		l.pub.asksFetch(t)
		accepted(t, st)
		st.Send(wire.RequestUpdate{RequestID: p.id(), Params: wire.Params{SubscriberPriority: new(uint8(1))}})
		st.Expect(wire.RequestOK{})
	})
	from("10.9.1_update_that_fails", hole, func(t *testing.T, l *live, p *peer) {
		st := p.fetch(at(1, 0), at(3, 0), wire.Params{})
		l.pub.asksFetch(t)
		accepted(t, st)
		data := p.AcceptUni()
		alias := wire.Token{AliasType: wire.TokenUseAlias, Alias: 77}
		st.Send(wire.RequestUpdate{RequestID: p.id(), Params: wire.Params{Tokens: []wire.Token{alias}}})
		if m := message[wire.RequestError](t, st, wire.TypeRequestUpdate); m.Code == 0 {
			t.Errorf("refused with %+v", m)
		}
		if _, err := data.ReadAll(); err == nil {
			t.Error("the data stream ends with FIN, want a reset")
		}
		p.ExpectOpen()
	})
	from("10.13_end_before_start", hole, func(t *testing.T, l *live, p *peer) {
		p.fetch(at(2, 3), at(3, 0), wire.Params{})
		_, up := l.pub.asksFetch(t)
		up.Send(wire.FetchOK{End: at(1, 1)})
		l.pub.ExpectClose(wire.SessionProtocolViolation)
	})
	t.Run("13_each_fetcher_is_authorized", func(t *testing.T) {
		run(t, relay.Config{Authorizer: byToken{}}, func(t *testing.T, n *net) {
			n.peer().fetch(at(0, 0), at(1, 0), wire.Params{}).ExpectError(wire.RequestUnauthorized, wire.TypeFetch)
		})
	})
}

// TestStatus is about TRACK_STATUS (section 10.14).
func TestStatus(t *testing.T) {
	props := wire.Properties("\x02\x89\xc4" + "\x0e\x80\x40" + "\x6a\x07")
	ask := func(p *peer, name wire.FullTrackName) *moqttest.PeerStream {
		st := p.Open(wire.TrackStatus{RequestID: p.id(), Track: name})
		st.Close()
		return st
	}
	t.Run("9.6_track_properties", func(t *testing.T) {
		cached(t, wire.SubscribeOK{Properties: props}, []uint64{4}, func(t *testing.T, l *live, p *peer) {
			st := ask(p, video)
			m := message[wire.RequestOK](t, st, wire.TypeTrackStatus)
			if string(m.Properties) != string(props) || m.Params.LargestObject == nil || *m.Params.LargestObject != at(4, 1) {
				t.Errorf("answer is %+v", m)
			}
			st.ExpectFIN()
			p.noData(t, "a status")
		})
	})
	t.Run("10.14_no_such_track", func(t *testing.T) {
		run(t, relay.Config{}, func(t *testing.T, n *net) {
			ask(n.peer(), video).ExpectError(wire.RequestDoesNotExist, wire.TypeTrackStatus)
		})
	})
	t.Run("10.14_not_authorized", func(t *testing.T) {
		run(t, relay.Config{Authorizer: byToken{}}, func(t *testing.T, n *net) {
			ask(n.peer(), video).ExpectError(wire.RequestUnauthorized, wire.TypeTrackStatus)
		})
	})
	t.Run("10.14_asked_upstream", func(t *testing.T) {
		run(t, relay.Config{}, func(t *testing.T, n *net) {
			pub, p := n.peer(), n.peer()
			pub.announce(cam)
			down := ask(p, video)
			st := pub.Accept()
			time.Sleep(time.Second)
			silent(t, "before upstream's answer", down)
			params := wire.Params{LargestObject: &wire.Location{Group: 3, Object: 1}}
			switch typ := st.Type(); typ {
			case wire.TypeSubscribe:
				st.Send(wire.SubscribeOK{TrackAlias: 5, Params: params, Properties: props})
			case wire.TypeTrackStatus:
				st.Send(wire.RequestOK{Params: params, Properties: props})
				st.Close()
			default:
				t.Fatalf("upstream is asked %v", typ)
			}
			m := message[wire.RequestOK](t, down, wire.TypeTrackStatus)
			if string(m.Properties) != string(props) || m.Params.LargestObject == nil || *m.Params.LargestObject != at(3, 1) {
				t.Errorf("answer is %+v", m)
			}
		})
	})
}
