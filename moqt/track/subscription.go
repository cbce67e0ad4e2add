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
	// DeliveryTimeout, in whole milliseconds, is how long after its first byte
	// an object is still worth sending. Zero states none.
	DeliveryTimeout time.Duration
}

// A Subscription is a subscriber's hold on a track, from a session or from the
// relay in process. Its Track is filled until it ends.
type Subscription struct {
	track   *Track
	release func()
}

// NewSubscription returns a subscription to t. release, which may be nil, is
// called once, by the first Close.
func NewSubscription(t *Track, release func()) *Subscription {
	if release == nil {
		release = func() {}
	}
	return &Subscription{track: t, release: sync.OnceFunc(release)}
}

// Track returns the track that is subscribed to.
func (s *Subscription) Track() *Track { return s.track }

// Close ends the subscription. It may be called from any goroutine and more
// than once.
func (s *Subscription) Close() { s.release() }

// A Source offers tracks by name, such as a publisher does below its
// namespace. Track must not block; it is called from several goroutines.
type Source interface {
	Track(name string) (*Track, bool)
}

// A NamespaceEvent says that a namespace came or went.
type NamespaceEvent struct {
	Namespace Namespace
	Active    bool
}
