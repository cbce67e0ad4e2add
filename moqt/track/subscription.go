package track

import (
	"sync"
	"time"
)

// Where a reader or a subscription starts. The zero value of Start is
// CurrentGroup.
var (
	// CurrentGroup starts at the first object of the group that is current at
	// that moment, or with whatever comes first.
	CurrentGroup = Start{kind: startCurrentGroup}
	// NextGroup starts with the first group after the current one.
	NextGroup = Start{kind: startNextGroup}
	// NextObject starts with the first object after the largest so far, exactly
	// as the Largest Object filter does (section 5.1.2).
	NextObject = Start{kind: startNextObject}
)

type startKind uint8

const (
	startCurrentGroup startKind = iota
	startNextGroup
	startNextObject
	startAt
)

// A Start says where reading starts: CurrentGroup, NextGroup, NextObject or
// From. It is comparable with ==.
type Start struct {
	kind startKind
	at   Location
}

// From starts at l, which may lie in the past; what of that is no longer
// cached is skipped.
func From(l Location) Start { return Start{kind: startAt, at: l} }

// Location returns l of From(l), and whether s was made so.
func (s Start) Location() (l Location, ok bool) { return s.at, s.kind == startAt }

// Resolve returns the first location that s lets through where largest is the
// largest so far, if some says that there is one.
func (s Start) Resolve(largest Location, some bool) Location {
	switch {
	case s.kind == startAt:
		return s.at
	case !some:
		return Location{}
	case s.kind == startNextGroup:
		return successor(largest.Group)
	case s.kind == startNextObject && largest.Object+1 == 0:
		return successor(largest.Group)
	case s.kind == startNextObject:
		return Location{Group: largest.Group, Object: largest.Object + 1}
	}
	return Location{Group: largest.Group}
}

// successor returns the start of the group after group. There is none after
// the last number; its last object, which then is the largest, stands in.
func successor(group uint64) Location {
	if group+1 == 0 {
		return Location{Group: group, Object: ^uint64(0)}
	}
	return Location{Group: group + 1}
}

// SubscribeOptions say how to subscribe to a track. The zero value starts at
// the current group with the default priority and the publisher's group order.
type SubscribeOptions struct {
	Start Start
	// Priority is the subscriber's priority, lower first. Without HasPriority
	// it is DefaultPriority.
	Priority    uint8
	HasPriority bool
	// GroupOrder is Ascending or Descending; zero leaves it to the publisher.
	GroupOrder GroupOrder
	// Paused subscribes without asking for objects yet (Forward State 0).
	Paused bool
	// EndGroup, with Start From(l), is the last group to send, all of it. Nil:
	// the subscription is open ended.
	EndGroup *uint64
	// DeliveryTimeout, in whole milliseconds, is how long after its first byte
	// an object is still worth sending, and SubgroupTimeout a subgroup (section
	// 8). Zero states none.
	DeliveryTimeout time.Duration
	SubgroupTimeout time.Duration
	// Rendezvous is how long, in whole milliseconds, a relay may wait for a
	// publisher of the track (section 10.2.6). Zero: not at all.
	Rendezvous time.Duration
	// NewGroup asks the original publisher to begin a group behind that number
	// less one; 0 says that none is known (section 10.2.13). Nil asks for none.
	NewGroup *uint64
	// Tokens authorize the subscription, each by value.
	Tokens []Token
	// Moved, unless nil, is called, from the session's loop, when the publisher
	// asks with GOAWAY for the subscription to be made elsewhere: at uri, or anew
	// on a session to the current URI if that is empty, within timeout, 0 for as
	// soon as possible (section 10.4). It must not block.
	Moved func(uri string, timeout time.Duration)
}

// A Subscription is a subscriber's hold on a track, from a session or from the
// relay in process. Its Track is filled until it ends.
type Subscription struct {
	track   *Track
	hold    Hold
	release func()
}

// A Hold is what a subscription does to its publisher. Its methods do not block
// and may be called from any goroutine.
type Hold interface {
	Update(SubscribeUpdate)
	Expires() time.Time
	Release()
}

// NewSubscription returns a subscription to t. release, which may be nil, is
// called once, by the first Close.
func NewSubscription(t *Track, release func()) *Subscription {
	if release == nil {
		release = func() {}
	}
	return NewHeldSubscription(t, plainHold(release))
}

// NewHeldSubscription returns a subscription to t that h keeps. Release is
// called once, by the first Close.
func NewHeldSubscription(t *Track, h Hold) *Subscription {
	return &Subscription{track: t, hold: h, release: sync.OnceFunc(h.Release)}
}

// Track returns the track that is subscribed to.
func (s *Subscription) Track() *Track { return s.track }

// Update changes the subscription. It does not block: u.Done tells how it ends.
func (s *Subscription) Update(u SubscribeUpdate) { s.hold.Update(u) }

// Expires returns when the publisher wants to end the subscription if it is not
// updated, as EXPIRES says (section 10.2.10). Zero: it does not say.
func (s *Subscription) Expires() time.Time { return s.hold.Expires() }

// Close ends the subscription. It may be called from any goroutine and more
// than once.
func (s *Subscription) Close() { s.release() }

// A plainHold is the hold on a track in this process, which has nothing to
// change.
type plainHold func()

func (h plainHold) Release()         { h() }
func (plainHold) Expires() time.Time { return time.Time{} }

func (plainHold) Update(u SubscribeUpdate) {
	if u.Done != nil {
		u.Done(Updated{}, nil)
	}
}

// A SubscribeUpdate changes a subscription (section 10.9.1). What is nil stays
// as it is.
type SubscribeUpdate struct {
	Forward  *bool  // false: no objects for now
	Priority *uint8 // lower first
	// Start, and EndGroup with Start From(l), replace the range. What of it lies
	// in the past is for a FETCH to bring.
	Start    *Start
	EndGroup *uint64
	// The timeouts of SubscribeOptions; 0 for none.
	DeliveryTimeout, SubgroupTimeout *time.Duration
	// NewGroup is that of SubscribeOptions. It is left out where the track does
	// not offer it (DYNAMIC_GROUPS, section 12.6).
	NewGroup *uint64
	Tokens   []Token // by value
	// Done, unless nil, is called once, from the session's loop, when the
	// publisher has answered: with an error that wraps a *RequestError if it
	// refuses, which ends the subscription, or does not answer; or with why the
	// subscription or its session was over. Updates that follow each other
	// closely share an answer.
	Done func(Updated, error)
}

// Updated is what a publisher answers to a SubscribeUpdate.
type Updated struct {
	// Largest is the publisher's largest object, if Some says that there is one.
	// After Forward has become true a joining FETCH ends there.
	Largest Location
	Some    bool
	// Expires is as in Subscription.Expires.
	Expires time.Time
}

// A Source offers tracks by name, such as a publisher does below its
// namespace. Track must not block; it is called from several goroutines.
type Source interface {
	Track(name string) (*Track, bool)
}

// A Lister is a Source that tells of its tracks unasked, for those who subscribe
// to all that there are (SUBSCRIBE_TRACKS, section 10.19).
type Lister interface {
	Source
	// Tracks calls f with each track that there is, and from then on with each
	// that comes, until stop is called. It must not block, nor must f, which may
	// be called with locks held and calls nothing of the Lister.
	Tracks(f func(*Track)) (stop func())
}

// A NamespaceEvent says that a namespace came or went.
type NamespaceEvent struct {
	Namespace Namespace
	Active    bool
}
