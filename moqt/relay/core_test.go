package relay

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
)

// A rig drives a core in virtual time and writes down what it asks for, with
// the names that the test gave to its peers, subscribers and upstreams.
type rig struct {
	t     *testing.T
	c     *core
	now   time.Time
	log   []string
	peers map[string]*peer
	srcs  map[string]*source
	subs  map[string]*fakeSubscriber
	ups   map[string]*fakeUpstream
	conns map[string]actConnect // the last connect at each peer
	// demands writes down what is asked of publishers, too.
	demands bool
	fetches map[string]actFetch // the last fetch at each peer
	recalls []actRecall
}

type fakeSubscriber struct {
	name string
	want wants
	peer *peer
}

func (s *fakeSubscriber) session() *peer { return s.peer }

func (s *fakeSubscriber) wants() wants { return s.want }

func (*fakeSubscriber) accept(*track.Track)             {}
func (*fakeSubscriber) reject(wire.RequestCode, string) {}

type fakeUpstream struct {
	name  string
	t     *track.Track
	bytes uint64 // heard of its session; 0: unknown
}

func (u *fakeUpstream) Track() *track.Track           { return u.t }
func (*fakeUpstream) Close()                          {}
func (u *fakeUpstream) heard() uint64                 { return u.bytes }
func (*fakeUpstream) accept(*track.Track, bool)       {}
func (*fakeUpstream) update(*bool, *uint64)           {}
func (*fakeUpstream) refuse(wire.RequestCode, string) {}

type fakeSink struct{}

func (fakeSink) Announce(wire.Namespace) {}
func (fakeSink) Withdraw(wire.Namespace) {}

type fakeSource map[string]*track.Track

func (s fakeSource) Track(name string) (*track.Track, bool) { t, ok := s[name]; return t, ok }

var (
	nsCam  = wire.MustNamespace("stream", "local", "cam")
	nsOrg  = wire.MustNamespace("stream", "local")
	video  = wire.FullTrackName{Namespace: nsCam, Name: "video"}
	audio  = wire.FullTrackName{Namespace: nsCam, Name: "audio"}
	errOff = &track.RequestError{Code: wire.RequestDoesNotExist, Reason: "off"}
)

func newRig(t *testing.T) *rig {
	cfg, err := Config{}.checked()
	if err != nil {
		t.Fatal(err)
	}
	return &rig{
		t: t, c: newCore(cfg), now: time.Unix(1_800_000_000, 0),
		peers: map[string]*peer{}, srcs: map[string]*source{}, subs: map[string]*fakeSubscriber{},
		ups: map[string]*fakeUpstream{}, conns: map[string]actConnect{},
		fetches: map[string]actFetch{},
	}
}

func (r *rig) peer(name string) *peer {
	if r.peers[name] == nil {
		r.peers[name] = &peer{}
	}
	return r.peers[name]
}

func (r *rig) peerName(p *peer) string {
	for name, q := range r.peers {
		if p == q {
			return name
		}
	}
	return "?"
}

func (r *rig) sub(name string) *fakeSubscriber {
	if r.subs[name] == nil {
		r.subs[name] = &fakeSubscriber{name: name}
	}
	return r.subs[name]
}

func (r *rig) announce(p string, ns wire.Namespace) {
	r.srcs[p] = &source{ns: ns, peer: r.peer(p), routable: true}
	r.note(r.c.announce(r.now, r.srcs[p]))
}

func (r *rig) subscribe(name wire.FullTrackName, sub string, hold time.Duration) {
	r.note(r.c.subscribe(r.now, name, r.sub(sub), hold))
}

func (r *rig) unsubscribe(name wire.FullTrackName, sub string) {
	r.note(r.c.unsubscribe(r.now, name, r.sub(sub)))
}

// answer lets the last connect at a peer succeed, or fail with err.
func (r *rig) answer(p string, err error) {
	a := r.conns[p]
	if err != nil {
		r.note(r.c.connected(r.now, a.name, a.epoch, nil, err))
		return
	}
	u := &fakeUpstream{name: p, t: a.into}
	if u.t == nil {
		u.t = track.New(a.name, track.Info{}, track.Config{})
	}
	r.ups[p] = u
	r.note(r.c.connected(r.now, a.name, a.epoch, u, nil))
}

// group writes a group of one object to the track as it is carried now.
func (r *rig) group(name wire.FullTrackName, id uint64) {
	r.t.Helper()
	w, err := r.c.tracks[name].track.Subgroup(track.SubgroupHeader{Group: id, EndOfGroup: true, FirstObject: true})
	if err == nil {
		err = errors.Join(w.WriteObject(track.Object{Payload: []byte("x")}), w.Close())
	}
	if err != nil && !errors.Is(err, track.ErrTooOld) {
		r.t.Fatal(err)
	}
}

func (r *rig) lose(p string) {
	r.note(r.c.peerGone(r.now, r.peer(p)))
	if a, ok := r.conns[p]; ok {
		r.note(r.c.upstreamEnded(r.now, a.name, a.epoch, nil))
	}
}

func (r *rig) pass(d time.Duration) {
	end := r.now.Add(d)
	for {
		at, ok := r.c.next()
		if !ok || at.After(end) {
			break
		}
		r.now = at
		r.note(r.c.expire(r.now))
	}
	r.now = end
}

func (r *rig) note(acts []action) {
	for _, a := range acts {
		switch a := a.(type) {
		case actConnect:
			r.conns[r.peerName(a.src.peer)] = a
			how := "new"
			if a.into != nil {
				how = "continue"
			}
			r.logf("connect %s %s %s", r.peerName(a.src.peer), a.name.Name, how)
		case actUpdate:
			r.demanded(a)
		case actUnask:
			r.logf("unask")
		case actRelease:
			r.logf("release %s", upName(a.up))
		case actAccept:
			r.logf("accept %s", a.sub.(*fakeSubscriber).name)
		case actReject:
			r.logf("reject %s %v", a.sub.(*fakeSubscriber).name, a.code)
		case actDrop:
			r.logf("drop")
		case actAbortOpen:
			r.logf("abort open")
		case actEnd:
			r.logf("end %v", a.code)
		case actTake:
			paused := ""
			if r.demands && a.paused {
				paused = " paused"
			}
			r.logf("take %s continue=%t%s", a.offer.(*fakeUpstream).name, a.into != nil, paused)
		case actRefuse:
			r.logf("refuse %s %v", a.offer.(*fakeUpstream).name, a.code)
		case actTell:
			r.logf("tell %s %t", a.ns.Path(), a.active)
		default:
			r.noteFetch(a)
		}
	}
}

func upName(u upstream) string {
	if c, ok := u.(continued); ok {
		u = c.upstream
	}
	return u.(*fakeUpstream).name
}

func (r *rig) demanded(a actUpdate) {
	if r.demands {
		text := "update " + upName(a.up)
		if a.forward != nil {
			text += fmt.Sprintf(" forward=%t", *a.forward)
		}
		if a.newGroup != nil {
			text += fmt.Sprintf(" group=%d", *a.newGroup)
		}
		r.logf("%s", text)
	}
}

func (r *rig) logf(format string, args ...any) { r.log = append(r.log, fmt.Sprintf(format, args...)) }

// want checks what was asked for since the last want.
func (r *rig) want(want ...string) {
	r.t.Helper()
	if !slices.Equal(r.log, want) {
		r.t.Errorf("got:\n  %s\nwant:\n  %s", strings.Join(r.log, "\n  "), strings.Join(want, "\n  "))
	}
	r.log = nil
}

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
	r.want("abort open")
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
	r.want("abort open")
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
	r.want("abort open", "take pub2 continue=true")
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
