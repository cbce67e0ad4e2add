package moqt_test

import (
	"bytes"
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/internal/golden"
	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// TestExchange compares everything that two sessions say to each other, from
// SETUP to the end, with testdata/exchange.txt. It has the order of each
// stream; what happens at the same instant is sorted by stream.
func TestExchange(t *testing.T) {
	var d dump
	synctest.Test(t, func(t *testing.T) {
		d.start = time.Now()
		link := moqttest.Link{Delay: 10 * time.Millisecond}
		client, server := pair(t, moqttest.Config{Up: link, Down: link, Tap: d.tap},
			moqt.Config{Authority: "relay.example", Path: "/live?t=1"},
			moqt.Config{Handler: handler{}})
		pause := func() {
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
		}
		tr := track.New(video, track.Info{Properties: track.NewProperties(track.Property{Type: track.PropDefaultPriority, Uint: 1})}, track.Config{})
		writeGroup(t, tr, 7, 2)
		withdraw, err := client.Announce(t.Context(), cam, tracks{"video": tr})
		if err != nil {
			t.Fatal(err)
		}
		pause()
		go func() {
			for range server.Namespaces(t.Context(), ns("stream")) {
			}
		}()
		pause()
		sub := subscribe(t, server, track.SubscribeOptions{Priority: 100, HasPriority: true})
		pause()
		sub.Update(track.SubscribeUpdate{Priority: new(uint8(50)), Tokens: []track.Token{{Type: 1, Value: []byte("t")}}})
		sub.Update(track.SubscribeUpdate{Forward: new(true)})
		pause()
		if _, err := server.Tracks(t.Context(), ns("stream"), moqt.TracksOptions{Paused: true}); err == nil {
			t.Error("a client without a handler offers tracks")
		}
		pause()
		_, err = server.Subscribe(t.Context(), track.Name{Namespace: cam, Name: "none"}, track.SubscribeOptions{})
		if err == nil {
			t.Error("subscribed to a track that does not exist")
		}
		pause()
		writeGroup(t, tr, 8, 1)
		pause()
		w, err := tr.Subgroup(track.SubgroupHeader{Group: 9, FirstObject: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.WriteObject(track.Object{Payload: []byte("cut")}); err != nil {
			t.Fatal(err)
		}
		pause()
		sub.Close()
		pause()
		w.Close()
		sub = subscribe(t, server, track.SubscribeOptions{Start: track.NextGroup})
		pause()
		tr.End(wire.PublishDoneTrackEnded, "over")
		pause()
		sub.Close()
		withdraw()
		pause()
		server.Goaway("moqt://other.example", time.Second)
		<-client.Done()
	})
	golden.Check(t, "exchange.txt", d.bytes())
}

// A dump writes down what two sessions send.
type dump struct {
	start time.Time
	lines []dumped
}

type dumped struct {
	at   time.Duration
	key  string
	text string
}

func (d *dump) tap(s moqttest.Sent) {
	from := "server"
	if s.Client {
		from = "client"
	}
	var what []string
	switch {
	case s.Reset:
		what = append(what, fmt.Sprintf("RESET_STREAM %v", wire.ResetCode(s.Code)))
	case s.Stop:
		what = append(what, fmt.Sprintf("STOP_SENDING %v", wire.ResetCode(s.Code)))
	case s.Close:
		what = append(what, fmt.Sprintf("close %v", wire.SessionCode(s.Code)))
	case s.Fin:
		what = append(what, "FIN")
	case strings.Contains(s.Stream, "uni") && !strings.HasSuffix(s.Stream, "uni 0"):
		what = append(what, describeData(s.Data))
	default:
		what = describe(s.Data)
	}
	for _, w := range what {
		d.lines = append(d.lines, dumped{time.Since(d.start), s.Stream + from, fmt.Sprintf("%-14s %s> %s", s.Stream, from, w)})
	}
}

func (d *dump) bytes() []byte {
	slices.SortStableFunc(d.lines, func(a, b dumped) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.key, b.key))
	})
	var b bytes.Buffer
	for _, l := range d.lines {
		fmt.Fprintf(&b, "%4d ms  %s\n", l.at.Milliseconds(), l.text)
	}
	return b.Bytes()
}

func describeData(b []byte) string {
	if h, n, err := wire.ParseSubgroupHeader(b); err == nil {
		return fmt.Sprintf("SUBGROUP_HEADER %sand %d bytes", fields(reflect.ValueOf(h)), len(b)-n)
	}
	return fmt.Sprintf("%d bytes", len(b))
}

// describe names the messages in b, with the fields that are set.
func describe(b []byte) (out []string) {
	for len(b) > 0 {
		t, body, n, err := wire.ParseFrame(b)
		if err != nil {
			return append(out, fmt.Sprintf("%x", b))
		}
		b = b[n:]
		var m any
		switch t {
		case wire.TypeSetup:
			m, err = wire.ParseSetup(body)
		case wire.TypeGoaway:
			m, err = wire.ParseGoaway(body, true)
		case wire.TypePublishNamespace:
			m, err = wire.ParsePublishNamespace(body)
		case wire.TypeSubscribeNamespace:
			m, err = wire.ParseSubscribeNamespace(body)
		case wire.TypeNamespace:
			m, err = wire.ParseNamespaceMsg(body)
		case wire.TypeNamespaceDone:
			m, err = wire.ParseNamespaceDone(body)
		case wire.TypeSubscribe:
			m, err = wire.ParseSubscribe(body)
		case wire.TypeSubscribeOK:
			m, err = wire.ParseSubscribeOK(body)
		case wire.TypeRequestOK:
			m, err = wire.ParseRequestOK(body, wire.TypeTrackStatus) // which may have what the others may
		case wire.TypeRequestUpdate:
			m, err = wire.ParseRequestUpdate(body, wire.TypeSubscribe)
		case wire.TypeSubscribeTracks:
			m, err = wire.ParseSubscribeTracks(body)
		case wire.TypeRequestError:
			m, err = wire.ParseRequestError(body, wire.TypeSubscribe)
		case wire.TypePublishDone:
			m, err = wire.ParsePublishDone(body)
		}
		if err != nil {
			m = err
		}
		out = append(out, strings.TrimSpace(t.String()+" "+fields(reflect.ValueOf(m))))
	}
	return out
}

// fields lists the fields of a struct that are not zero.
func fields(v reflect.Value) string {
	var b strings.Builder
	for i := range v.NumField() {
		f := v.Field(i)
		name := v.Type().Field(i).Name
		for f.Kind() == reflect.Pointer && !f.IsNil() {
			f = f.Elem()
			if f.IsZero() { // set, though to zero
				fmt.Fprintf(&b, "%s=%v ", name, f.Interface())
			}
		}
		_, text := f.Interface().(fmt.Stringer)
		switch {
		case f.IsZero():
		case text:
			fmt.Fprintf(&b, "%s=%v ", name, f.Interface())
		case f.Kind() == reflect.Struct:
			fmt.Fprintf(&b, "%s={%s} ", name, strings.TrimSpace(fields(f)))
		case f.Kind() == reflect.String:
			fmt.Fprintf(&b, "%s=%q ", name, f.Interface())
		default:
			fmt.Fprintf(&b, "%s=%v ", name, f.Interface())
		}
	}
	return b.String()
}
