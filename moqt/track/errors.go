package track

import (
	"errors"
	"fmt"
	"time"
)

var (
	// ErrTooOld reports that a group is gone from the cache, or older than one
	// that is. Whoever sends it is told to stop with ResetTooFarBehind.
	ErrTooOld = errors.New("track: group is no longer cached")

	// ErrLimit reports that a group would exceed Config.MaxGroupBytes or
	// MaxObjectsPerGroup, or a track MaxOpenSubgroups. The subgroup is cut with
	// ResetExcessiveLoad.
	ErrLimit = errors.New("track: limit exceeded")

	// ErrClosed reports a write to a subgroup after Close, Abort or the end of
	// its track.
	ErrClosed = errors.New("track: subgroup is closed")
)

// An EndError says why a track ended otherwise than cleanly.
type EndError struct {
	Code   DoneCode
	Reason string // for people and logs; never match on it
}

func (e *EndError) Error() string {
	return fmt.Sprintf("track: ended: %v: %s", e.Code, e.Reason)
}

// An AbortError reports that a group was cut: objects are missing after those
// that were read.
type AbortError struct{ Code ResetCode }

func (e *AbortError) Error() string { return fmt.Sprintf("track: group cut: %v", e.Code) }

// A RequestError reports that the peer, or the embedded relay, refused a
// request (REQUEST_ERROR, section 10.6).
type RequestError struct {
	Code       RequestCode
	Reason     string        // for people and logs; never match on it
	RetryAfter time.Duration // 0: retrying makes no sense, or none was stated
	// Redirect says where the request can succeed: of REDIRECT (section 10.6.1),
	// and of GOING_AWAY where a GOAWAY for the request named a URI.
	Redirect *Redirect
}

func (e *RequestError) Error() string {
	return fmt.Sprintf("track: request refused: %v: %s", e.Code, e.Reason)
}
