package conformance_test

import (
	"context"
	"reflect"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// datagram takes the next datagram of the relay.
func (p *peer) datagram(t *testing.T) wire.Datagram {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	b, err := p.Conn.ReceiveDatagram(ctx)
	if err != nil {
		t.Fatalf("datagram: %v", err)
	}
	d, err := wire.ParseDatagram(b)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// noDatagram checks that the relay sends p no datagram.
func (p *peer) noDatagram(t *testing.T, what string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if b, err := p.Conn.ReceiveDatagram(ctx); err == nil {
		t.Errorf("%s: datagram %x", what, b)
	}
}

// TestDatagrams is about objects in datagrams (section 11.3).
func TestDatagrams(t *testing.T) {
	plain := func(name string, f func(*testing.T, *live)) {
		t.Run(name, func(t *testing.T) { through(t, relay.Config{}, wire.SubscribeOK{}, wire.Params{}, f) })
	}
	gram := func(l *live, d wire.Datagram) {
		d.Alias = l.alias
		if err := l.pub.Conn.SendDatagram(d.Append(nil)); err != nil {
			t.Fatal(err)
		}
	}
	plain("11.2.1_as_it_came", func(t *testing.T, l *live) {
		for _, d := range []wire.Datagram{
			{Group: 1, Object: 0, Priority: 9, Payload: []byte("x")},
			{Group: 1, Object: 1, DefaultPriority: true, Properties: odd, Payload: []byte("y")},
			{Group: 1, Object: 2, DefaultPriority: true, EndOfGroup: true, Payload: []byte("z")},
			{Group: 2, Object: 0, DefaultPriority: true, Status: wire.ObjectEndOfTrack},
		} {
			gram(l, d)
			got := l.sub.datagram(t)
			d.Alias = l.relayed
			if !reflect.DeepEqual(got, d) {
				t.Errorf("got %+v, want %+v", got, d)
			}
		}
		l.sub.noData(t, "datagrams stay datagrams")
	})
	plain("9.3_without_duplicates", func(t *testing.T, l *live) {
		d := wire.Datagram{Group: 1, Object: 0, DefaultPriority: true, Payload: []byte("x")}
		gram(l, d)
		gram(l, d)
		l.sub.datagram(t)
		l.sub.noDatagram(t, "the second copy")
		silent(t, "nothing is wrong", l.down)
	})
	plain("9.1_second_copy_differs", func(t *testing.T, l *live) {
		gram(l, wire.Datagram{Group: 1, Object: 0, DefaultPriority: true, Payload: []byte("x")})
		l.sub.datagram(t)
		gram(l, wire.Datagram{Group: 1, Object: 0, DefaultPriority: true, Payload: []byte("y")})
		malformed(t, l)
	})
	plain("11.1_unknown_alias", func(t *testing.T, l *live) {
		if err := l.pub.Conn.SendDatagram(wire.Datagram{Alias: 77, Payload: []byte("x")}.Append(nil)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		l.pub.ExpectOpen()
		l.sub.noDatagram(t, "nobody's")
	})
	t.Run("5.1_forward_0", func(t *testing.T) {
		through(t, relay.Config{}, wire.SubscribeOK{}, wire.Params{Forward: new(false)}, func(t *testing.T, l *live) {
			gram(l, wire.Datagram{Group: 1, Object: 0, DefaultPriority: true, Payload: []byte("x")})
			l.sub.noDatagram(t, "Forward 0")
		})
	})
	t.Run("5.1.2_filter", func(t *testing.T) {
		f := wire.Filter{Type: wire.FilterAbsoluteRange, Start: at(3, 1), EndGroup: 3}
		through(t, relay.Config{}, wire.SubscribeOK{}, wire.Params{Filter: &f}, func(t *testing.T, l *live) {
			for g := uint64(2); g < 4; g++ {
				for o := range uint64(2) {
					gram(l, wire.Datagram{Group: g, Object: o, DefaultPriority: true, Payload: []byte("x")})
				}
			}
			if d := l.sub.datagram(t); d.Group != 3 || d.Object != 1 {
				t.Errorf("got {%d, %d}, want {3, 1}", d.Group, d.Object)
			}
			l.sub.noDatagram(t, "outside of the filter")
		})
	})
	for _, tt := range []struct {
		name string
		b    []byte
	}{
		{"11.3.1_no_properties", []byte{0x01, upstreamAlias, 1, 0, 128, 0, 'x'}},
		{"11.3.1_properties_on_a_status", []byte{0x21, upstreamAlias, 1, 0, 128, 2, 0x78, 1, 3}},
		{"11.3.1_status_and_end_of_group", []byte{0x22, upstreamAlias, 1, 0, 128, 3}},
		{"11.3.1_reserved_type", []byte{0x10, upstreamAlias, 1, 0, 128}},
	} {
		plain(tt.name, func(t *testing.T, l *live) {
			if err := l.pub.Conn.SendDatagram(tt.b); err != nil {
				t.Fatal(err)
			}
			l.pub.ExpectClose(wire.SessionProtocolViolation)
			l.sub.noDatagram(t, "what closes a session")
			l.sub.ExpectOpen()
		})
	}
	plain("9.1_fetched", func(t *testing.T, l *live) {
		gram(l, wire.Datagram{Group: 1, Object: 0, Priority: 9, Properties: odd, Payload: []byte("x")})
		gram(l, wire.Datagram{Group: 1, Object: 1, DefaultPriority: true, EndOfGroup: true, Payload: []byte("y")})
		l.sub.datagram(t)
		l.sub.datagram(t)
		p := l.peer()
		message[wire.FetchOK](t, p.fetch(at(1, 0), at(1, 0), wire.Params{FillTimeout: ms(0)}), wire.TypeFetch)
		f := readFetch(t, p.AcceptUni(), wire.GroupAscending)
		if len(f.items) != 2 || !f.items[0].Datagram || f.items[0].Priority != 9 || string(f.items[0].Properties) != string(odd) || f.err != nil {
			t.Errorf("got %+v, %v", f.items, f.err)
		}
	})
}
