package main

import (
	"errors"

	"github.com/broadcastd/broadcastd/client"
	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/transport"
	"github.com/broadcastd/broadcastd/moqt/wire"
	"github.com/broadcastd/broadcastd/viewer"
)

// The exit codes. Scripts branch on them.
const (
	exitDone    = 0
	exitFailed  = 1
	exitUsage   = 2 // a flag, an argument or the configuration
	exitRefused = 3 // the other side said no
	exitNetwork = 4 // the other side was not reached, or was lost
)

// A usageError is a fault of the command line or the configuration.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// exitCode returns the code for how a command ended.
func exitCode(err error) int {
	if err == nil || errors.Is(err, errInterrupted) {
		return exitDone
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if errors.Is(err, viewer.ErrNotThere) { // it wraps a refusal too
		return exitFailed
	}
	if de, ok := errors.AsType[*transport.DialError](err); ok {
		switch {
		case errors.Is(de, transport.ErrRefused):
			return exitRefused
		case errors.Is(de, transport.ErrUnreachable), errors.Is(de, transport.ErrUntrusted):
			return exitNetwork
		}
		return exitUsage // a URL that cannot work
	}
	if _, ok := errors.AsType[*track.RequestError](err); ok {
		return exitRefused
	}
	switch {
	case errors.Is(err, client.ErrInvalid):
		return exitUsage // what the API does not take was on the command line
	case errors.Is(err, client.ErrUnauthorized), errors.Is(err, client.ErrForbidden), errors.Is(err, client.ErrRateLimited):
		return exitRefused
	case errors.Is(err, client.ErrUnreachable):
		return exitNetwork
	}
	if se, ok := errors.AsType[*moqt.SessionError](err); ok {
		switch {
		case se.Err != nil:
			return exitNetwork
		case se.Remote && se.Code == wire.SessionUnauthorized:
			return exitRefused
		case se.Remote:
			return exitNetwork
		}
	}
	return exitFailed
}
