package moqt

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// FuzzCore feeds a core what a script says: bytes on streams, their ends, time,
// and calls of the application. It must not panic, and its bounds must hold.
//
// A script is a sequence of steps of an operation, a stream and, for bytes, a
// length and the bytes.
func FuzzCore(f *testing.F) {
	name := track.Name{Namespace: track.MustNamespace("a"), Name: "t"}
	msg := func(m wire.Message) []byte {
		b, err := wire.AppendMessage(nil, m)
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	on := func(op, stream byte, b []byte) []byte { return append([]byte{op, stream, byte(len(b))}, b...) }
	setup := on(opControl, 0, msg(wire.Setup{}))
	h := wire.SubgroupHeader{Alias: 1, DefaultPriority: true}.Append(nil)
	for _, requests := range [][]wire.Message{
		{wire.Subscribe{Track: name}, wire.RequestUpdate{RequestID: 2}},
		{wire.Publish{Track: name, TrackAlias: 1}, wire.PublishDone{StreamCount: 1}},
		{wire.PublishNamespace{Namespace: name.Namespace}},
		{wire.SubscribeNamespace{}, wire.RequestUpdate{RequestID: 2, Params: wire.Params{NamespacePrefix: &name.Namespace}}},
		{wire.SubscribeTracks{}, wire.RequestUpdate{RequestID: 2, Params: wire.Params{NamespacePrefix: &name.Namespace}}},
		{wire.Fetch{FetchType: wire.FetchStandalone, Track: name}, wire.RequestUpdate{RequestID: 2}},
		{wire.Subscribe{Track: name}, wire.Fetch{RequestID: 2, FetchType: wire.FetchRelativeJoining}},
		{wire.TrackStatus{Track: name}},
	} {
		script := slices.Clone(setup)
		for _, m := range requests {
			script = append(script, on(opRequest, 0, msg(m))...)
		}
		script = append(script, on(opUni, 0, append(h, 0, 1, 'x'))...)
		script = append(script, opFin, 0, opTime, 200)
		f.Add(true, script)
	}
	for _, answer := range []wire.Message{
		wire.FetchOK{End: wire.Location{Group: 1}},
		wire.SubscribeOK{TrackAlias: 1},
		wire.RequestOK{},
		wire.RequestError{Code: wire.RequestRedirect},
		wire.NamespaceMsg{Suffix: name.Namespace},
		wire.PublishBlocked{Suffix: name.Namespace, Name: "t"},
	} {
		for call := range byte(13) {
			script := append(slices.Clone(setup), opCall, call)
			script = append(script, on(opAnswer, 0, msg(answer))...)
			f.Add(false, append(script, opStopped, 0, opCancel, 0))
		}
	}
	f.Fuzz(func(t *testing.T, server bool, script []byte) {
		b := newBench(t, !server, Config{Handler: nobody{}, Limits: Limits{
			Requests: 4, Namespaces: 4, Subscriptions: 4, Tracks: 4, DataStreams: 4, EarlyStreams: 2, ControlBytes: wire.MaxFrame,
		}})
		b.run(script, name)
		b.finish()
	})
}

const (
	opControl = iota // bytes of the control stream
	opRequest        // bytes of a request stream of the peer
	opAnswer         // bytes of a stream of ours
	opUni            // a whole unidirectional stream
	opDatagram
	opFin
	opReset
	opStopped
	opTime
	opCall
	opCancel
	opAnswers // how the handler answers from here on
	opCount
)

// eitherStream returns a stream that may exist, of either side.
func eitherStream(i byte) streamID {
	if i%2 == 0 {
		return streamID(i%8 + 10)
	}
	return -streamID(i % 8)
}

func (b *bench) run(script []byte, name track.Name) {
	const control = streamID(1)
	peers := map[byte]bool{}
	var ours streamID
	unis := streamID(1000)
	next := func() byte {
		if len(script) == 0 {
			return 0
		}
		v := script[0]
		script = script[1:]
		return v
	}
	b.handle(evControl{control})
	tr := track.New(name, track.Info{}, track.Config{MaxGroupBytes: 1 << 16, Now: func() time.Time { return b.now }})
	for steps := 0; len(script) > 0 && steps < 200; steps++ {
		op, i := next()%opCount, next()
		var data []byte
		if op <= opDatagram {
			n := min(int(next()), len(script))
			data, script = script[:n], script[n:]
		}
		switch op {
		case opControl:
			b.handle(evBytes{control, data})
		case opRequest:
			i %= 8
			if !peers[i] {
				peers[i] = true
				b.handle(evOpened{streamID(i) + 10})
			}
			b.handle(evBytes{streamID(i) + 10, data})
		case opAnswer:
			b.handle(evBytes{-streamID(i%8) - 1, data})
		case opUni:
			unis++
			b.uni(unis, data)
		case opDatagram:
			b.handle(evDatagram{data})
		case opFin:
			b.handle(evFin{eitherStream(i)})
		case opReset:
			b.handle(evReset{sid: eitherStream(i)})
		case opStopped:
			b.handle(evStopped{sid: eitherStream(i)})
		case opTime:
			b.now = b.now.Add(time.Duration(i) * 100 * time.Millisecond)
			b.handle(evTimer{})
		case opCall:
			ours--
			b.callFor(i, ours, name, tr)
		case opCancel:
			b.handle(evCancel{eitherStream(i), wire.ResetCancelled})
		case opAnswers:
			b.answers(i, tr)
		}
	}
}

// uni feeds a whole unidirectional stream.
func (b *bench) uni(sid streamID, data []byte) {
	var in inbound
	known, err := in.feed(data)
	if err != nil {
		b.handle(evViolation{err})
		return
	}
	if known && in.kind == wire.StreamFetch {
		b.fetchStream(sid, &in)
	}
	if !known || in.kind != wire.StreamSubgroup {
		return
	}
	b.handle(evSubgroup{sid, in.header})
	if w := b.bound[sid]; w != nil {
		delete(b.bound, sid)
		b.handle(evSubgroupEnd{sid, fill(w, in.rest, bytes.NewReader(nil))})
	}
}
