package conformance_test

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// odd are the properties of an object as no encoder of ours would write them: a
// type of the application, an unknown one, and varints longer than they need be.
var odd = wire.Properties("\x80\x78\x80\x05" + "\x80\x27\x03abc" + "\xc0\x00\x01\x80\x02")

// TestForward is about what the relay does to objects: nothing.
func TestForward(t *testing.T) {
	plain := func(name string, f func(*testing.T, *live)) {
		t.Run(name, func(t *testing.T) { through(t, relay.Config{}, wire.SubscribeOK{}, wire.Params{}, f) })
	}
	plain("2.1_payloads", func(t *testing.T, l *live) {
		want := []string{"", "x", strings.Repeat("long", 50_000), "\x00\xff"}
		st := l.send(header(l.alias, 3))
		for _, p := range want {
			st.Send(object(p))
		}
		st.Close()
		if g := l.sub.groups(t, 1)[0]; !slices.Equal(g.payloads(), want) || g.err != nil {
			t.Errorf("got %d objects, %v, want the %d that were sent", len(g.objects), g.err, len(want))
		}
	})
	plain("2.1_second_copy_differs", func(t *testing.T, l *live) {
		l.send(header(l.alias, 3), object("one"))
		l.sub.AcceptUni().Expect(header(l.relayed, 3), object("one"))
		two := l.send(header(l.alias, 3), object("two"))
		malformed(t, l)
		two.ExpectStop(wire.ResetMalformedTrack)
	})
	plain("2.2_one_stream_a_subgroup", func(t *testing.T, l *live) {
		for _, id := range []uint64{0, 1, 2} {
			h := wire.SubgroupHeader{Alias: l.alias, Group: 3, Subgroup: id, DefaultPriority: true, FirstObject: true}
			st := l.send(h, objectOf(wire.ObjectHeader{IDDelta: id}, false, "a"))
			synctest.Wait()
			st.Send(objectOf(wire.ObjectHeader{IDDelta: 2}, false, "b"))
			st.Close()
		}
		for i, g := range l.sub.groups(t, 3) {
			id := uint64(i)
			if g.header.Subgroup != id || len(g.objects) != 2 || g.objects[0].id != id || g.objects[1].id != id+3 || g.err != nil {
				t.Errorf("stream %d: %+v", i, g)
			}
		}
		l.sub.noData(t, "behind the last subgroup")
	})
	plain("2.2_first_object", func(t *testing.T, l *live) {
		h := header(l.alias, 3)
		l.send(h, object("a")).Close()
		h.Group, h.FirstObject = 4, false // begins in the middle
		l.send(h, objectOf(wire.ObjectHeader{IDDelta: 7}, false, "b")).Close()
		for i, g := range l.sub.groups(t, 2) {
			if want := i == 0; g.header.FirstObject != want {
				t.Errorf("group %d: FIRST_OBJECT is %t, want %t", g.header.Group, g.header.FirstObject, want)
			}
		}
	})
	plain("2.4.2_malformed_track", func(t *testing.T, l *live) {
		end := objectOf(wire.ObjectHeader{Status: wire.ObjectEndOfGroup}, false, "")
		data := l.send(header(l.alias, 3), object("good"), end)
		st := l.sub.AcceptUni()
		st.Expect(header(l.relayed, 3), object("good"), end)
		data.Send(object("bad"))
		malformed(t, l)
		if b, _ := st.ReadAll(); strings.Contains(string(b), "bad") {
			t.Error("what was malformed was passed on")
		}
	})
	plain("2.5_unknown_properties", func(t *testing.T, l *live) {
		h := header(l.alias, 3)
		h.Properties = true
		l.send(h, objectOf(wire.ObjectHeader{Properties: odd}, true, "a"), objectOf(wire.ObjectHeader{}, true, "b")).Close()
		g := l.sub.groups(t, 1)[0]
		if want := []obj{{0, 0, "a", string(odd)}, {1, 0, "b", ""}}; !slices.Equal(g.objects, want) {
			t.Errorf("got %+v, want %+v", g.objects, want)
		}
	})
	plain("5.1_incomplete_object", func(t *testing.T, l *live) {
		data := l.send(header(l.alias, 3), objectOf(wire.ObjectHeader{}, false, "abcdef")[:5])
		st := l.sub.AcceptUni()
		st.Expect(header(l.relayed, 3), objectOf(wire.ObjectHeader{}, false, "abcdef")[:5])
		data.Send([]byte("def"))
		st.Expect([]byte("def"))
	})
	plain("9.1_fields_from_the_cache", func(t *testing.T, l *live) {
		h := wire.SubgroupHeader{Alias: l.alias, Group: 3, Subgroup: 4, Priority: 77, Properties: true, EndOfGroup: true, FirstObject: true}
		want := []obj{{6, 0, "a", string(odd)}, {8, 0, "b", ""}, {9, wire.ObjectEndOfGroup, "", ""}}
		l.send(h, objectOf(wire.ObjectHeader{IDDelta: 6, Properties: odd}, true, "a"), objectOf(wire.ObjectHeader{IDDelta: 1}, true, "b"),
			objectOf(wire.ObjectHeader{Status: wire.ObjectEndOfGroup}, true, "")).Close()
		l.sub.groups(t, 1)
		late := l.net.peer()
		message[wire.SubscribeOK](t, late.subscribe(video, wire.Params{}), wire.TypeSubscribe)
		g := late.groups(t, 1)[0]
		h.Alias = g.header.Alias
		if g.header != h || !slices.Equal(g.objects, want) || g.err != nil {
			t.Errorf("got %+v, want %+v %+v", g, h, want)
		}
	})
	plain("9.1_object_in_a_declared_gap", func(t *testing.T, l *live) {
		h := wire.SubgroupHeader{Alias: l.alias, Group: 3, DefaultPriority: true, Properties: true, FirstObject: true}
		gap := wire.NewProperties(wire.KeyValue{Type: wire.PropPriorObjectIDGap, Uint: 4})
		l.send(h, objectOf(wire.ObjectHeader{IDDelta: 5, Properties: gap}, true, "five")).Close()
		l.sub.groups(t, 1)
		h.Subgroup = 1
		l.send(h, objectOf(wire.ObjectHeader{IDDelta: 3}, true, "three")).Close()
		malformed(t, l) // section 12.9
		for _, b := range l.sub.data(t) {
			if strings.Contains(b, "three") {
				t.Errorf("passed on %q", b)
			}
		}
	})
	plain("9.4_order", func(t *testing.T, l *live) {
		st := l.send(header(l.alias, 3))
		var want []string
		for i := range 200 {
			want = append(want, strings.Repeat("x", i))
			st.Send(object(want[i]))
		}
		st.Close()
		if g := l.sub.groups(t, 1)[0]; !slices.Equal(g.payloads(), want) {
			t.Errorf("got %q", g.payloads())
		}
	})
	plain("9.5_what_closes_a_session_stays", func(t *testing.T, l *live) {
		data := l.send(header(l.alias, 3), object("good"))
		st := l.sub.AcceptUni()
		st.Expect(header(l.relayed, 3), object("good"))
		data.Send(objectOf(wire.ObjectHeader{Status: 9}, false, ""))
		l.pub.ExpectClose(wire.SessionProtocolViolation)
		if b, err := st.ReadAll(); len(b) > 0 || err == nil {
			t.Errorf("read %x, %v, want a reset", b, err)
		}
		time.Sleep(time.Second)
		l.sub.ExpectOpen()
	})
	plain("9.7_fields", func(t *testing.T, l *live) {
		headers := []wire.SubgroupHeader{
			{Group: 1, Subgroup: 3, Priority: 5, FirstObject: true},
			{Group: 2, FirstIDMode: true, Priority: 200, FirstObject: true, EndOfGroup: true},
			{Group: 3, DefaultPriority: true, FirstObject: true},
		}
		for _, h := range headers {
			h.Alias = l.alias
			l.send(h, objectOf(wire.ObjectHeader{IDDelta: 2}, false, "a"), objectOf(wire.ObjectHeader{IDDelta: 7}, false, "b")).Close()
			synctest.Wait()
		}
		for i, g := range l.sub.groups(t, 3) {
			want := headers[i]
			want.Alias = l.relayed
			if want.FirstIDMode {
				want.Subgroup = g.header.Subgroup // written either way
				want.FirstIDMode = g.header.FirstIDMode
				if !want.FirstIDMode && want.Subgroup != 2 {
					t.Errorf("subgroup %d, want 2", want.Subgroup)
				}
			}
			if g.header != want || !slices.Equal(g.objects, []obj{{2, 0, "a", ""}, {10, 0, "b", ""}}) {
				t.Errorf("got %+v, want %+v", g, want)
			}
		}
	})
	plain("11.2.1.1_marks", func(t *testing.T, l *live) {
		h := header(l.alias, 3)
		h.EndOfGroup = false
		l.send(h, object("a"), objectOf(wire.ObjectHeader{Status: wire.ObjectEndOfGroup}, false, "")).Close()
		h.Group = 4
		l.send(h, object("b"), objectOf(wire.ObjectHeader{Status: wire.ObjectEndOfTrack}, false, "")).Close()
		gs := l.sub.groups(t, 2)
		for i, mark := range []wire.ObjectStatus{wire.ObjectEndOfGroup, wire.ObjectEndOfTrack} {
			if o := gs[i].objects; len(o) != 2 || o[1].status != mark {
				t.Errorf("group %d: %+v, want %v", i+3, o, mark)
			}
		}
	})
	plain("11.4.3_FIN", func(t *testing.T, l *live) {
		st := l.send(header(l.alias, 3), object("a"))
		down := l.sub.AcceptUni()
		down.Expect(header(l.relayed, 3), object("a"))
		silent(t, "before upstream's FIN", down)
		st.Close()
		down.ExpectFIN()
	})
	for _, code := range []wire.ResetCode{wire.ResetInternalError, wire.ResetCancelled, wire.ResetDeliveryTimeout, wire.ResetTooFarBehind, wire.ResetExcessiveLoad, 0x4711} {
		plain("11.4.3_reset_"+code.String(), func(t *testing.T, l *live) {
			st := l.send(header(l.alias, 3), object("a"), object("b")[:2])
			down := l.sub.AcceptUni()
			down.Expect(header(l.relayed, 3), object("a"), object("b")[:2])
			st.Reset(code)
			if g, err := down.ReadAll(); err == nil {
				t.Errorf("read %x and FIN, want a reset", g)
			}
			l.sub.ExpectOpen()
		})
	}
	plain("11.4.3_gap", func(t *testing.T, l *live) {
		h := header(l.alias, 3)
		l.send(h, object("0"), objectOf(wire.ObjectHeader{IDDelta: 3}, false, "4")).Close()
		g := l.sub.groups(t, 1)[0]
		if !slices.Equal(g.objects, []obj{{0, 0, "0", ""}, {4, 0, "4", ""}}) {
			t.Errorf("adjacent on upstream's stream, got %+v", g)
		}
	})
	plain("11.4.3_reset_and_resumed", func(t *testing.T, l *live) {
		h := header(l.alias, 3)
		st := l.send(h, object("0"))
		down := l.sub.AcceptUni()
		down.Expect(header(l.relayed, 3), object("0"))
		st.Reset(wire.ResetCancelled)
		down.ExpectReset(wire.ResetCancelled)
		h.FirstObject = false
		l.send(h, objectOf(wire.ObjectHeader{IDDelta: 2}, false, "2")).Close()
		g := l.sub.groups(t, 1)[0]
		if g.header.FirstObject || !slices.Equal(g.objects, []obj{{2, 0, "2", ""}}) || g.err != nil {
			t.Errorf("on the second stream: %+v", g)
		}
	})
	plain("11.4.3_stopped", func(t *testing.T, l *live) {
		st := l.send(header(l.alias, 3), object("0"))
		down := l.sub.AcceptUni()
		down.Expect(header(l.relayed, 3), object("0"))
		down.Stop(wire.ResetCancelled)
		synctest.Wait()
		st.Send(object("1"))
		st.Close()
		l.send(header(l.alias, 4), object("next")).Close()
		if g := l.sub.groups(t, 1)[0]; g.header.Group != 4 {
			t.Errorf("got group %d, want the next one, 4", g.header.Group)
		}
		l.sub.noData(t, "behind it")
	})
	plain("12.7_immutable_properties", func(t *testing.T, l *live) {
		inner := "\x80\x78\x80\x05" // longer than need be
		p := wire.Properties("\x0b" + string(rune(len(inner))) + inner + "\x6e\x01x")
		h := header(l.alias, 3)
		h.Properties = true
		l.send(h, objectOf(wire.ObjectHeader{Properties: p}, true, "a")).Close()
		if g := l.sub.groups(t, 1)[0]; len(g.objects) != 1 || g.objects[0].properties != string(p) {
			t.Errorf("got %+v, want the properties %x", g, p)
		}
	})
	plain("12.8_gaps", func(t *testing.T, l *live) {
		p := wire.Properties("\x3c\x80\x02\x02\x01") // two groups and one object are missing
		h := header(l.alias, 5)
		h.Properties = true
		l.send(h, objectOf(wire.ObjectHeader{IDDelta: 1, Properties: p}, true, "a"), objectOf(wire.ObjectHeader{IDDelta: 3}, true, "b")).Close()
		g := l.sub.groups(t, 1)[0]
		if want := []obj{{1, 0, "a", string(p)}, {5, 0, "b", ""}}; !slices.Equal(g.objects, want) {
			t.Errorf("got %+v, want %+v", g.objects, want)
		}
	})
}

// malformed checks that the relay ends a malformed track at both sides.
func malformed(t *testing.T, l *live) {
	t.Helper()
	l.up.ExpectStop(wire.ResetMalformedTrack)
	if done := message[wire.PublishDone](t, l.down, wire.TypeSubscribe); done.Status != wire.PublishDoneMalformedTrack {
		t.Errorf("downstream ends with %v, want MALFORMED_TRACK", done.Status)
	}
	l.down.ExpectFIN()
	l.pub.ExpectOpen()
	l.sub.ExpectOpen()
}

// TestForwardTrack is about the properties of tracks.
func TestForwardTrack(t *testing.T) {
	props := wire.Properties("\x02\x89\xc4" + "\x0e\x80\x40" + "\x6a\x07" + "\x01\x03abc") // timeouts, priority, unknown ones, written long
	t.Run("9.6_track_properties", func(t *testing.T) {
		through(t, relay.Config{}, wire.SubscribeOK{Properties: props}, wire.Params{}, func(t *testing.T, l *live) {
			if string(l.ok.Properties) != string(props) {
				t.Errorf("SUBSCRIBE_OK has %x, want %x", l.ok.Properties, props)
			}
			late := message[wire.SubscribeOK](t, l.peer().subscribe(video, wire.Params{}), wire.TypeSubscribe)
			if string(late.Properties) != string(props) {
				t.Errorf("from what runs: %x, want %x", late.Properties, props)
			}
		})
	})
	t.Run("2.5.1_mandatory_property", func(t *testing.T) {
		run(t, relay.Config{}, func(t *testing.T, n *net) {
			pub, sub := n.peer(), n.peer()
			pub.announce(cam)
			down := sub.subscribe(video, wire.Params{})
			_, up := pub.asked(t)
			up.Send(wire.SubscribeOK{TrackAlias: 9, Properties: wire.NewProperties(wire.KeyValue{Type: 0x4000})})
			up.ExpectStop(wire.ResetCancelled)
			down.ExpectError(wire.RequestUnsupportedExtension, wire.TypeSubscribe)
			pub.ExpectOpen()
		})
	})
	t.Run("2.2_in_process", func(t *testing.T) {
		run(t, relay.Config{}, func(t *testing.T, n *net) {
			tr := track.New(video, track.Info{}, track.Config{})
			if _, err := n.r.Announce(n.ctx, cam, source{"video": tr}); err != nil {
				t.Fatal(err)
			}
			sub := n.peer()
			message[wire.SubscribeOK](t, sub.subscribe(video, wire.Params{}), wire.TypeSubscribe)
			w, err := tr.Subgroup(track.SubgroupHeader{Group: 1, FirstObject: true})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.WriteObject(track.Object{Payload: []byte("x")}); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			if g := sub.groups(t, 1)[0]; !g.header.FirstObject {
				t.Errorf("got %+v, want FIRST_OBJECT", g.header)
			}
		})
	})
}

// source is a track.Source.
type source map[string]*track.Track

func (s source) Track(name string) (*track.Track, bool) {
	t, ok := s[name]
	return t, ok
}
