package wire

import (
	"math"
	"time"
)

// RequestError refuses a request (section 10.6).
type RequestError struct {
	Code RequestCode
	// Retry: the request may be sent again unchanged, after RetryAfter.
	Retry      bool
	RetryAfter time.Duration // whole milliseconds; 0 without Retry
	Reason     string        // for people; at most 1024 bytes, more are cut off
	// Redirect is there if Code is RequestRedirect, and only then.
	Redirect *Redirect
}

// A Redirect says where a request can succeed (section 10.6.1).
type Redirect struct {
	ConnectURI string // empty: the current session's; always empty from a client
	// Track is the track to ask for; the zero value means the same one. Its
	// Name is empty if the request is about a namespace.
	Track FullTrackName
}

// Type returns TypeRequestError.
func (RequestError) Type() MessageType { return TypeRequestError }

// Append appends the message body to b.
func (m RequestError) Append(b []byte) []byte {
	b = AppendVarint(b, uint64(m.Code))
	interval := uint64(0)
	if m.Retry {
		interval = toMillis(m.RetryAfter) + 1
	}
	b = AppendVarint(b, interval)
	b = appendReason(b, m.Reason)
	if m.Code != RequestRedirect {
		return b
	}
	var r Redirect
	if m.Redirect != nil {
		r = *m.Redirect
	}
	return r.Track.Append(AppendString(b, r.ConnectURI))
}

// ParseRequestError parses one whole message body. request is the type of the
// message that it answers.
func ParseRequestError(body []byte, request MessageType) (RequestError, error) {
	c := cursor{b: body, in: "REQUEST_ERROR"}
	m := RequestError{Code: RequestCode(c.varint("error code"))}
	if interval := c.varint("retry interval"); interval > 0 {
		m.Retry, m.RetryAfter = true, fromMillis(interval-1)
	}
	m.Reason = c.reason()
	if m.Code == RequestRedirect && c.err == nil {
		off := c.off
		m.Redirect = &Redirect{ConnectURI: c.string("Connect URI", math.MaxInt), Track: c.fullTrackName()}
		switch request {
		case TypeSubscribeNamespace, TypeSubscribeTracks, TypePublishNamespace:
			if m.Redirect.Track.Name != "" {
				c.violate(off, "redirect of %v has a track name", request)
			}
		}
	}
	return checked(m, &c)
}
