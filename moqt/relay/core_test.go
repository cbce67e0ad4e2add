package relay

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// section 9.5: one upstream subscription per track, however many ask for it.
func TestSubscribersShareOneUpstream(t *testing.T) {
	r := newRig(t)
	r.announce("pub", nsCam)
	r.subscribe(video, "a", 0)
	r.subscribe(video, "b", 0)
	r.want("connect pub video new")
	r.answer("pub", nil)
	r.want("accept a", "accept b")
	r.subscribe(video, "c", 0)
	r.want("accept c")
}

// section 9.5: a prefix of the track's namespace is enough, field by field.
func TestSubscribeIsRoutedByLongestPrefix(t *testing.T) {
	r := newRig(t)
	r.announce("org", nsOrg)
	r.announce("cam", nsCam)
	r.announce("camera", wire.MustNamespace("stream", "local", "camera"))
	r.subscribe(video, "a", 0)
	r.subscribe(wire.FullTrackName{Namespace: wire.MustNamespace("stream", "local", "other"), Name: "x"}, "b", 0)
	r.want("connect cam video new", "connect org x new")
}

func TestSubscribeWithoutPublisher(t *testing.T) {
	for _, tt := range []struct {
		name string
		hold time.Duration
		want []string
	}{
		{"no rendezvous asked for", 0, []string{"reject a DOES_NOT_EXIST"}},
		{"held in vain", time.Second, []string{"reject a TIMEOUT"}},
		{"held no longer than the cap", time.Hour, []string{"reject a TIMEOUT"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.subscribe(video, "a", tt.hold)
			r.pass(10 * time.Second)
			r.want(tt.want...)
			if r.c.held != 0 || len(r.c.tracks) != 0 || r.c.timers.Len() != 0 {
				t.Errorf("left over: %d held, %d tracks, %d timers", r.c.held, len(r.c.tracks), r.c.timers.Len())
			}
		})
	}
}

func TestHeldSubscriberIsServedWhenThePublisherComes(t *testing.T) {
	r := newRig(t)
	r.subscribe(video, "a", 3*time.Second)
	r.subscribe(video, "b", 9*time.Second)
	r.pass(4 * time.Second)
	r.want("reject a TIMEOUT")
	r.announce("pub", nsCam)
	r.want("connect pub video new")
	r.answer("pub", nil)
	r.want("accept b")
	if r.c.held != 0 {
		t.Errorf("held = %d, want 0", r.c.held)
	}
}

func TestHeldSubscriptionsAreBounded(t *testing.T) {
	r := newRig(t)
	for i := range r.c.cfg.MaxHeld {
		r.subscribe(video, fmt.Sprint(i), time.Second)
	}
	r.want()
	r.subscribe(audio, "more", time.Second)
	r.want("reject more EXCESSIVE_LOAD")
	for i := range r.c.cfg.MaxHeld {
		r.unsubscribe(video, fmt.Sprint(i))
	}
	if r.c.held != 0 || len(r.c.tracks) != 0 {
		t.Errorf("left over: %d held, %d tracks", r.c.held, len(r.c.tracks))
	}
}

// One session may not take all of the room.
func TestHeldSubscriptionsOfASessionAreBounded(t *testing.T) {
	r := newRig(t)
	r.c.cfg.MaxHeld = 4
	for i := range 3 {
		r.sub(fmt.Sprint(i)).peer = r.peer("greedy")
		r.subscribe(video, fmt.Sprint(i), time.Second)
	}
	r.want("reject 2 EXCESSIVE_LOAD")
	r.subscribe(video, "other", time.Second)
	r.want()
	r.pass(time.Second)
	if r.c.held != 0 || r.peer("greedy").held != 0 {
		t.Errorf("left over: %d held, %d of the session", r.c.held, r.peer("greedy").held)
	}
}

func TestRefusalGoesToTheNextPublisherAndThenToTheSubscriber(t *testing.T) {
	r := newRig(t)
	r.announce("one", nsCam)
	r.announce("two", nsCam)
	r.subscribe(video, "a", 0)
	r.want("connect two video new")
	r.answer("two", errOff)
	r.want("connect one video new")
	r.answer("one", errOff)
	r.want("reject a DOES_NOT_EXIST")
}

// DESIGN "Core rules" 8: a publisher that reconnects within the grace takes over.
func TestPublisherReturnsWithinTheGrace(t *testing.T) {
	r := newRig(t)
	r.note(r.c.watch(&watcher{sink: fakeSink{}}))
	r.announce("first", nsCam)
	r.subscribe(video, "a", 0)
	r.answer("first", nil)
	r.want("tell stream/local/cam true", "connect first video new", "accept a")
	r.lose("first")
	r.want()
	r.pass(4 * time.Second)
	r.subscribe(video, "b", 0) // joins what is cached
	r.want("accept b")
	r.announce("second", nsCam)
	r.want("connect second video continue")
	r.answer("second", nil)
	r.pass(time.Minute)
	r.want() // neither told nor ended
}

func TestPublisherStaysAway(t *testing.T) {
	r := newRig(t)
	r.note(r.c.watch(&watcher{sink: fakeSink{}}))
	r.announce("pub", nsCam)
	r.subscribe(video, "a", 0)
	r.answer("pub", nil)
	r.log = nil
	r.lose("pub")
	r.pass(4999 * time.Millisecond)
	r.want()
	r.pass(time.Millisecond)
	slices.Sort(r.log)
	r.want("end INTERNAL_ERROR", "tell stream/local/cam false")
	r.subscribe(video, "b", 0)
	r.want("reject b DOES_NOT_EXIST")
}

// A killed publisher's session may live on until it times out: the one that
// comes back must not wait for that, and the dead one goes once the other speaks.
func TestNewSessionTakesOverFromOneThatHasNotTimedOut(t *testing.T) {
	r := newRig(t)
	r.announce("dead", nsCam)
	r.subscribe(video, "a", 0)
	r.answer("dead", nil)
	r.log = nil
	r.announce("again", nsCam)
	r.want("connect again video continue")
	r.answer("again", nil)
	r.ups["dead"].bytes = 700
	for id := range uint64(5) {
		r.ups["again"].bytes += 1000
		r.group(video, id)
		r.pass(time.Second)
	}
	r.want("release dead")
	r.lose("dead")
	r.pass(time.Minute)
	r.want()
}

func TestReturnAtTheLastMomentIsGivenItsTime(t *testing.T) {
	r := newRig(t)
	r.announce("pub", nsCam)
	r.subscribe(video, "a", 0)
	r.answer("pub", nil)
	r.lose("pub")
	r.pass(4900 * time.Millisecond)
	r.announce("pub2", nsCam)
	r.log = nil
	r.pass(time.Second)
	r.answer("pub2", errOff)
	r.want()
	r.pass(0)
	r.want("end INTERNAL_ERROR")
}

func TestSubscribeDuringTheGraceWaitsForTheReturn(t *testing.T) {
	r := newRig(t)
	r.announce("pub", nsCam)
	r.lose("pub")
	r.subscribe(video, "a", 0)
	r.want()
	r.announce("pub2", nsCam)
	r.want("connect pub2 video new")
	r.answer("pub2", nil)
	r.want("accept a")
}

func TestSessionLostUnderTheConnect(t *testing.T) {
	r := newRig(t)
	r.announce("pub", nsCam)
	r.subscribe(video, "a", 0)
	r.note(r.c.peerGone(r.now, r.peer("pub")))
	r.answer("pub", errors.New("session lost"))
	r.want("connect pub video new")
	r.announce("pub2", nsCam)
	r.answer("pub2", nil)
	r.want("connect pub2 video new", "accept a")
}

func TestTrackEndsWhenThePublisherSaysSo(t *testing.T) {
	r := newRig(t)
	r.announce("pub", nsCam)
	r.subscribe(video, "a", 0)
	r.answer("pub", nil)
	r.log = nil
	a := r.conns["pub"]
	r.note(r.c.upstreamEnded(r.now, a.name, a.epoch, &track.EndError{Code: wire.PublishDoneTrackEnded}))
	r.want("end TRACK_ENDED")
	r.subscribe(video, "b", 0) // a closed track is never revived
	r.want("connect pub video new")
}

func TestTrackLingersWithoutSubscribers(t *testing.T) {
	r := newRig(t)
	r.announce("pub", nsCam)
	r.subscribe(video, "a", 0)
	r.answer("pub", nil)
	r.log = nil
	r.unsubscribe(video, "a")
	r.pass(29 * time.Second)
	r.subscribe(video, "b", 0)
	r.want("accept b")
	r.pass(time.Minute)
	r.unsubscribe(video, "b")
	r.pass(30 * time.Second)
	r.want("release pub", "end TRACK_ENDED")
	r.pass(10 * time.Second)
	r.want("drop")
	if len(r.c.tracks) != 0 || r.c.timers.Len() != 0 {
		t.Errorf("left over: %d tracks, %d timers", len(r.c.tracks), r.c.timers.Len())
	}
}

// The second of two that answer brings a track of its own, which must become
// one with the first one's.
func TestSecondAnswerContinuesTheFirst(t *testing.T) {
	r := newRig(t)
	r.announce("one", nsCam)
	r.subscribe(video, "a", 0)
	r.announce("two", nsCam)
	r.want("connect one video new", "connect two video new")
	r.answer("one", nil)
	r.want("accept a")
	r.answer("two", nil)
	r.want("release two", "connect two video continue")
	r.answer("two", nil)
	r.want()
}

func TestAnswerThatNobodyWaitsForIsReleased(t *testing.T) {
	r := newRig(t)
	r.announce("one", nsCam)
	r.subscribe(video, "a", 0)
	r.pass(10 * time.Second)
	r.want("connect one video new", "unask", "reject a TIMEOUT")
	r.answer("one", nil)
	r.want("release one")
	r.pass(11 * time.Second)
	r.want("drop")
	if len(r.c.tracks) != 0 || r.c.timers.Len() != 0 {
		t.Errorf("left over: %d tracks, %d timers", len(r.c.tracks), r.c.timers.Len())
	}
}

func TestPublishIsForwardedAndContinued(t *testing.T) {
	r := newRig(t)
	r.note(r.c.watch(&watcher{sink: fakeSink{}}))
	offer := func(p string) {
		src := &source{ns: nsCam, peer: r.peer(p)}
		u := &fakeUpstream{name: p, t: track.New(video, track.Info{}, track.Config{})}
		epoch, acts := r.c.published(r.now, src, video, u)
		r.note(acts)
		r.conns[p] = actConnect{name: video, epoch: epoch}
		r.note(r.c.announce(r.now, src))
	}
	r.subscribe(video, "a", time.Second) // section 9.5: held for rendezvous
	offer("pub")
	r.want("take pub continue=false", "accept a", "tell stream/local/cam true")
	first := r.c.tracks[video].track
	r.lose("pub")
	offer("pub2")
	r.want("take pub2 continue=true")
	if got := r.c.tracks[video].track; got != first {
		t.Error("the track was replaced, want it continued")
	}
	r.subscribe(audio, "b", 0) // PUBLISH offers one track, not its namespace
	r.want("reject b DOES_NOT_EXIST")
}

// relays.md 10.11 I11: a session never displaces a publisher in this process.
func TestLocalPublisherIsPreferred(t *testing.T) {
	r := newRig(t)
	local := &source{ns: nsCam, routable: true, local: fakeSource{"video": track.New(video, track.Info{}, track.Config{})}}
	r.note(r.c.announce(r.now, local))
	r.announce("pub", nsCam)
	r.subscribe(video, "a", 0)
	r.want("accept a")
	u := &fakeUpstream{name: "pub", t: track.New(video, track.Info{}, track.Config{})}
	_, acts := r.c.published(r.now, &source{ns: nsCam, peer: r.peer("pub")}, video, u)
	r.note(acts)
	r.want("refuse pub UNINTERESTED")
	r.subscribe(audio, "b", 0)
	r.want("reject b DOES_NOT_EXIST")
	r.note(r.c.withdraw(r.now, local))
	r.subscribe(audio, "b", 0)
	r.want("connect pub audio new")
}

func TestWatchersHearWhatIsUnderTheirPrefix(t *testing.T) {
	r := newRig(t)
	r.announce("one", nsCam)
	w := &watcher{prefix: nsOrg, sink: fakeSink{}}
	r.note(r.c.watch(w))
	r.want("tell stream/local/cam true")
	r.announce("two", wire.MustNamespace("stream", "other", "x"))
	r.announce("three", nsCam) // known already
	r.want()
	r.note(r.c.withdraw(r.now, r.srcs["one"]))
	r.want()
	r.note(r.c.withdraw(r.now, r.srcs["three"]))
	r.want("tell stream/local/cam false")
	r.note(r.c.unwatch(w))
	r.announce("four", nsCam)
	r.want()
}
