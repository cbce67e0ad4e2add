package client

import (
	"errors"
	"net/http"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/transport"
	"github.com/broadcastd/broadcastd/moqt/wire"
	"github.com/broadcastd/broadcastd/viewer"
)

// A CloseReason says why a publisher or a viewer has ended.
type CloseReason string

// The reasons.
const (
	Complete       CloseReason = "complete"         // of a viewer: the broadcast has ended
	Finished       CloseReason = "finished"         // of a publisher: its input has ended
	AuthFailed     CloseReason = "auth_failed"      // the key or token does not count, or no longer
	Network        CloseReason = "network"          // anything else that nobody asked for
	ClosedByCaller CloseReason = "closed_by_caller" // Close was called, or the context ended
)

// reasonOf says what an error comes down to that ended a session or a request.
func reasonOf(err error) CloseReason {
	if e, ok := errors.AsType[*transport.DialError](err); ok && (e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden) {
		return AuthFailed
	}
	if e, ok := errors.AsType[*moqt.SessionError](err); ok && e.Remote {
		switch e.Code {
		case wire.SessionUnauthorized, wire.SessionExpiredAuthToken, wire.SessionMalformedAuthToken:
			return AuthFailed
		}
	}
	if e, ok := errors.AsType[*track.RequestError](err); ok {
		switch e.Code {
		case track.RequestUnauthorized, track.RequestExpiredAuthToken, wire.RequestMalformedAuthToken:
			return AuthFailed
		}
	}
	if e, ok := errors.AsType[*track.EndError](err); ok && (e.Code == track.DoneUnauthorized || e.Code == track.DoneExpired) {
		return AuthFailed
	}
	if errors.Is(err, ErrUnauthorized) || errors.Is(err, ErrForbidden) {
		return AuthFailed
	}
	return Network
}

// hopeless reports whether trying again cannot help against err.
func hopeless(err error) bool {
	if reasonOf(err) == AuthFailed || errors.Is(err, transport.ErrUntrusted) || errors.Is(err, viewer.ErrNotThere) {
		return true // the last was waited for already
	}
	e, ok := errors.AsType[*transport.DialError](err)
	return ok && e.Kind == nil // a URL or a setting that cannot work
}
