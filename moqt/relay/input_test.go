package relay

import (
	"testing"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

var single = wire.FullTrackName{Namespace: nsCam, Name: "broadcast"}

func newTrack(name wire.FullTrackName) *track.Track {
	return track.New(name, track.Info{}, track.Config{})
}

// inputRig is a rig whose input track is "broadcast".
func inputRig(t *testing.T) *rig {
	r := newRig(t)
	r.c.cfg.InputTrack = single.Name
	return r
}

func (r *rig) subscribeSession(name wire.FullTrackName, sub string) {
	r.note(r.c.subscribeSession(r.now, name, r.sub(sub)))
}

// announceLocal announces a publisher in this process, with the tracks named.
func (r *rig) announceLocal(names ...string) *source {
	f := fakeSource{}
	for _, n := range names {
		f[n] = newTrack(wire.FullTrackName{Namespace: nsCam, Name: n})
	}
	src := &source{ns: nsCam, routable: true, local: f}
	r.note(r.c.announce(r.now, src))
	return src
}

// publish offers a track with PUBLISH, as a session does.
func (r *rig) publish(p string, name wire.FullTrackName) {
	src := &source{ns: name.Namespace, peer: r.peer(p)}
	u := &fakeUpstream{name: p, t: newTrack(name)}
	epoch, acts := r.c.published(r.now, src, name, u)
	r.note(acts)
	if epoch != 0 {
		r.conns[p] = actConnect{name: name, epoch: epoch}
		r.ups[p] = u
		r.note(r.c.announce(r.now, src))
	}
}

// What is made of a session's track has its name: the session's own track
// must stay in reach of its maker, and of nobody else.
func TestSubscribeSessionPassesOverLocalPublishers(t *testing.T) {
	r := inputRig(t)
	r.announce("sdk", nsCam)
	r.subscribeSession(single, "bridge")
	r.want("connect sdk broadcast new")
	r.answer("sdk", nil)
	r.want("accept bridge")
	local := r.announceLocal("broadcast")
	acts := r.c.subscribe(r.now, single, r.sub("viewer"), 0)
	want, _ := local.local.Track("broadcast")
	if got := acts[0].(actAccept).t; got != want {
		t.Errorf("the viewer got %p, want the publisher's own track %p", got, want)
	}
	acts = r.c.subscribeSession(r.now, single, r.sub("again"))
	if got, want := acts[0].(actAccept).t, r.ups["sdk"].t; got != want {
		t.Errorf("the bridge got %p, want the session's track %p", got, want)
	}
}

func TestSubscribeSessionWaitsForNobody(t *testing.T) {
	r := inputRig(t)
	r.subscribeSession(single, "bridge")
	r.want("reject bridge DOES_NOT_EXIST")
	r.announceLocal("broadcast")
	r.subscribeSession(single, "bridge")
	r.want("reject bridge DOES_NOT_EXIST")
	r.announce("sdk", nsCam)
	r.subscribeSession(single, "bridge")
	r.want("connect sdk broadcast new")
	r.lose("sdk")
	r.answer("sdk", &track.RequestError{Code: wire.RequestInternalError})
	r.want("reject bridge TIMEOUT")
}

// A byte stream starts over with every session, so none continues another.
func TestInputTrackIsNotContinued(t *testing.T) {
	r := inputRig(t)
	r.announce("one", nsCam)
	r.subscribeSession(single, "bridge")
	r.answer("one", nil)
	r.log = nil
	r.announceLocal("broadcast")
	r.lose("one")
	r.want("abort open", "end INTERNAL_ERROR")
	r.announce("two", nsCam)
	r.subscribeSession(single, "bridge")
	r.want("connect two broadcast new")
	r.answer("two", nil)
	r.announce("three", nsCam)
	r.want("accept bridge", "release two", "end GOING_AWAY")
	r.subscribeSession(single, "bridge")
	r.want("connect three broadcast new")
}

func TestInputTrackMayBePublished(t *testing.T) {
	r := inputRig(t)
	r.publish("one", single)
	r.want("take one continue=false")
	r.subscribeSession(single, "bridge")
	r.announceLocal("broadcast", "video")
	r.log = nil
	r.publish("two", video)
	r.want("refuse two UNINTERESTED")
	r.publish("three", single)
	r.want("release one", "end GOING_AWAY", "take three continue=false")
	// What is heard late of the one before is not taken for the new one's end.
	r.note(r.c.upstreamEnded(r.now, single, r.conns["one"].epoch, nil))
	r.want()
	r.subscribeSession(single, "bridge")
	r.want("accept bridge")
}

func TestWatchersOfSessions(t *testing.T) {
	r := inputRig(t)
	r.announceLocal("broadcast")
	r.note(r.c.watch(&watcher{prefix: nsOrg, sink: fakeSink{}, sessions: true}))
	r.want() // a publisher in this process is none
	r.announce("one", nsCam)
	r.want("tell stream/local/cam true")
	r.announce("two", nsCam)
	r.want("tell stream/local/cam true") // each that comes is told
	r.lose("one")
	r.want()
	r.note(r.c.withdraw(r.now, r.srcs["two"]))
	r.want("tell stream/local/cam false")
	r.announce("three", nsCam)
	r.note(r.c.watch(&watcher{prefix: nsOrg, sink: fakeSink{}, sessions: true}))
	r.want("tell stream/local/cam true", "tell stream/local/cam true")
	r.lose("three")
	r.want("tell stream/local/cam false", "tell stream/local/cam false")
}
