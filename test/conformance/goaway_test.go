package conformance_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// drain has the relay go away, aside.
func (n *net) drain(uri string, timeout time.Duration) {
	n.wg.Go(func() { n.r.Drain(n.ctx, uri, timeout) })
	synctest.Wait()
}

// TestGoaway is about a relay that goes away, and about publishers that do
// (sections 3.6 and 10.4).
func TestGoaway(t *testing.T) {
	t.Run("3.6_downstream_first", func(t *testing.T) {
		through(t, relay.Config{}, wire.SubscribeOK{}, wire.Params{}, func(t *testing.T, l *live) {
			l.drain("", 5*time.Second)
			m := message[wire.Goaway](t, l.sub.relay, wire.TypeSetup)
			if m.Timeout != 5*time.Second || m.RequestID == nil || *m.RequestID != l.sub.next {
				t.Errorf("GOAWAY is %+v", m)
			}
			message[wire.Goaway](t, l.pub.relay, wire.TypeSetup)
			time.Sleep(2 * time.Second)
			silent(t, "while a subscriber is there", l.up)
			l.send(header(l.alias, 1), object("x")).Close()
			l.sub.groups(t, 1)
			l.down.Stop(wire.ResetCancelled)
			l.down.Reset(wire.ResetCancelled)
			l.sub.ExpectClose(wire.SessionNoError)
			l.pub.ExpectClose(wire.SessionNoError)
		})
	})
	t.Run("3.6_timeout", func(t *testing.T) {
		through(t, relay.Config{}, wire.SubscribeOK{}, wire.Params{}, func(t *testing.T, l *live) {
			start := time.Now()
			l.drain("", 3*time.Second)
			l.sub.ExpectClose(wire.SessionGoawayTimeout)
			if took := time.Since(start); took != 3*time.Second {
				t.Errorf("closed after %v, want 3s", took)
			}
		})
	})
	t.Run("10.4_nothing_new_after_it", func(t *testing.T) {
		through(t, relay.Config{}, wire.SubscribeOK{}, wire.Params{}, func(t *testing.T, l *live) {
			l.drain("", 5*time.Second)
			l.sub.subscribe(audio, wire.Params{}).ExpectError(wire.RequestGoingAway, wire.TypeSubscribe)
			l.sub.fetch(at(0, 0), at(1, 0), wire.Params{}).ExpectError(wire.RequestGoingAway, wire.TypeFetch)
			l.pub.Open(wire.PublishNamespace{RequestID: l.pub.id(), Namespace: ns("b")}).ExpectError(wire.RequestGoingAway, wire.TypePublishNamespace)
			l.pub.noRequest(t, "the relay goes away")
		})
	})
	t.Run("10.4_scheme", func(t *testing.T) {
		run(t, relay.Config{}, func(t *testing.T, n *net) {
			raw := n.dial(moqttest.Config{}, wire.Setup{Path: new("/a?t=1"), Authority: new("a.example")})
			web := n.dial(moqttest.Config{Transport: moqt.WebTransport, Authority: "a.example", Path: "/b?t=2"}, wire.Setup{})
			synctest.Wait() // until the relay has their SETUP
			n.drain("moqt://b.example:4443", 5*time.Second)
			for p, want := range map[*peer]string{raw: "moqt://b.example:4443/a?t=1", web: "https://b.example:4443/b?t=2"} {
				if m := message[wire.Goaway](t, p.relay, wire.TypeSetup); m.NewSessionURI != want {
					t.Errorf("sent to %q, want %q", m.NewSessionURI, want)
				}
			}
		})
	})
	t.Run("10.4_publisher_goes_away", func(t *testing.T) {
		through(t, relay.Config{}, wire.SubscribeOK{}, wire.Params{}, func(t *testing.T, l *live) {
			l.pub.control.Send(wire.Goaway{RequestID: new(uint64(3)), Timeout: time.Second})
			synctest.Wait()
			l.sub.subscribe(audio, wire.Params{})
			l.pub.noRequest(t, "it goes away")
			l.send(header(l.alias, 4), object("x")).Close() // what runs goes on
			l.sub.groups(t, 1)
		})
	})
}
