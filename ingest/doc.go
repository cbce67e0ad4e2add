// Package ingest takes inputs in and keeps their broadcasts alive.
//
// A session is one run of an input; connections belong to it. An encoder that
// loses its network and returns within the grace continues the session: the
// same broadcast, the same tracks, and media time that still rises. One that
// stays away ends it.
//
// Two connections for one name are one encoder that came back before its old
// connection was seen to be dead, so the newer one takes over and the older
// one fails with ErrReplaced.
package ingest

import (
	"context"
	"errors"

	"github.com/broadcastd/broadcastd/cmaf"
)

// A Source is an input that feeds a Broadcast.
type Source interface {
	// Run feeds b until the input ends, which is nil, or ctx ends, or something
	// fails. It uses b from one goroutine at a time and does not close it.
	Run(ctx context.Context, b cmaf.Broadcast) error
}

// An Opener makes a broadcast for a name, such as a publisher's that a relay
// announces.
type Opener interface {
	// Open starts the broadcast, which p is the first to feed. Whoever called
	// closes what it returns. It may be an Observer.
	Open(ctx context.Context, name string, p Peer) (cmaf.Broadcast, error)
}

// What a connection may find out about its session.
var (
	// ErrReplaced reports that a newer connection of the same name took over.
	ErrReplaced = errors.New("ingest: a newer connection took over")
	// ErrEnded reports that the session was ended, by request or because the
	// server stops.
	ErrEnded = errors.New("ingest: the broadcast was ended")
	// ErrTooMany reports that the server has no room for another session.
	ErrTooMany = errors.New("ingest: too many")
	// ErrTooManyTracks reports that an input has more tracks than are taken.
	ErrTooManyTracks = errors.New("ingest: too many tracks")
	// ErrBusy reports that another connection feeds the input, and that its
	// Limits let none take over.
	ErrBusy = errors.New("ingest: another connection feeds this input")
	// ErrBitrate reports that an input brought more than its Limits allow.
	ErrBitrate = errors.New("ingest: the bitrate is higher than this input may have")
	// ErrLost is the reason of a broadcast whose input did not return in time.
	ErrLost = errors.New("ingest: the input did not return within the grace")
)
