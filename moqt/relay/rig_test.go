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
