package conformance_test

import (
	"testing"
	"testing/synctest"

	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/relay"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// TestUnknown is about values that are reserved so that nobody relies on knowing
// them all (section 14).
func TestUnknown(t *testing.T) {
	run := func(name string, f func(*testing.T, *net)) {
		t.Run(name, func(t *testing.T) { run(t, relay.Config{}, f) })
	}
	run("14_setup_option", func(t *testing.T, n *net) {
		p := n.dial(moqttest.Config{}, wire.Setup{Other: []wire.KeyValue{
			{Type: wire.Grease(1), Uint: 7}, {Type: wire.Grease(2), Bytes: []byte("abc")},
		}})
		p.announce(cam)
	})
	run("14_token_type", func(t *testing.T, n *net) {
		p := n.peer()
		tok := wire.Token{AliasType: wire.TokenUseValue, Type: wire.Grease(3), Value: []byte("x")}
		p.Open(wire.PublishNamespace{RequestID: p.id(), Namespace: cam, Params: wire.Params{Tokens: []wire.Token{tok}}})
		synctest.Wait()
		p.ExpectOpen()
	})
	run("14_REQUEST_ERROR", func(t *testing.T, n *net) {
		pub, sub := n.peer(), n.peer()
		pub.announce(cam)
		down := sub.subscribe(video, wire.Params{})
		_, up := pub.asked(t)
		up.Send(wire.RequestError{Code: wire.RequestCode(wire.Grease(4))})
		up.Close()
		m := message[wire.RequestError](t, down, wire.TypeSubscribe)
		if m.Code.Effective() != wire.RequestInternalError {
			t.Errorf("refused with %v", m.Code)
		}
		pub.ExpectOpen()
		sub.ExpectOpen()
	})
	t.Run("14_PUBLISH_DONE", func(t *testing.T) {
		through(t, relay.Config{Grace: -1}, wire.SubscribeOK{}, wire.Params{}, func(t *testing.T, l *live) {
			l.up.Send(wire.PublishDone{Status: wire.PublishDoneCode(wire.Grease(5))})
			l.up.Close()
			m := message[wire.PublishDone](t, l.down, wire.TypeSubscribe)
			if m.Status.Effective() != wire.PublishDoneInternalError {
				t.Errorf("ended with %v", m.Status)
			}
			l.pub.ExpectOpen()
			l.sub.ExpectOpen()
		})
	})
	t.Run("14_reset", func(t *testing.T) {
		through(t, relay.Config{}, wire.SubscribeOK{}, wire.Params{}, func(t *testing.T, l *live) {
			st := l.send(header(l.alias, 1), object("x"))
			down := l.sub.AcceptUni()
			down.Expect(header(l.relayed, 1), object("x"))
			st.Reset(wire.ResetCode(wire.Grease(6)))
			if _, err := down.ReadAll(); err == nil {
				t.Error("the stream ends with FIN")
			}
			l.pub.ExpectOpen()
			l.sub.ExpectOpen()
			silent(t, "the subscription goes on", l.down)
		})
	})
	run("14_session", func(t *testing.T, n *net) {
		pub, sub := n.peer(), n.peer()
		pub.announce(cam)
		_ = pub.Conn.CloseWithError(wire.SessionCode(wire.Grease(7)), "")
		synctest.Wait()
		sub.announce(ns("b"))
	})
}
