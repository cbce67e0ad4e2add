package ingest

import (
	"log/slog"
	"time"
)

// A Peer is what is known of who feeds an input.
type Peer struct {
	// Addr is where it connects from, or in words what it is. It goes into logs
	// and the API: no credentials.
	Addr string
	// Protocol is one of fmp4, rtmp, srt, whip, hls, moqt and clip, the built-in one.
	Protocol string
	// UserAgent is what it calls itself, as it was sent: unbounded and unchecked.
	UserAgent string
	// Encrypted says whether the way from it here is.
	Encrypted bool
	// Stats reads what the transport knows, from any goroutine, also after the
	// connection ended. Nil: nothing.
	Stats func() PeerStats
}

// PeerStats are what a transport measures. The zero value of a field says that
// it does not measure that.
type PeerStats struct {
	RTT, Jitter                   time.Duration
	Received, Lost, Retransmitted uint64 // packets since the start
	Bytes                         uint64 // since the start
}

// An Observer is a broadcast that hears what becomes of the connections that
// feed it. Open has been told of the first one. The calls come in order, with
// the session locked: they must not call the Registry.
type Observer interface {
	// SessionID names the session in log lines. Empty: it has no name.
	SessionID() string
	// Connected says that p feeds the session from now on, because it took over
	// or came back.
	Connected(p Peer)
	// Lost says that nothing comes for now, and that the grace runs.
	Lost()
	// Resumed says that what was lost goes on, on the same connection.
	Resumed()
}

// Limits are what one input may do.
type Limits struct {
	// MaxTracks bounds its tracks. Zero means Config.MaxTracks, which bounds it too.
	MaxTracks int
	// MaxBitrate is how many bits a second it may bring, on average over some
	// seconds. One that brings more is ended with ErrBitrate. Zero: no bound.
	MaxBitrate int64
	// Takeover says what becomes of a second connection.
	Takeover Takeover
	// Backup is the name of the input whose media goes out while this one brings
	// none. It is asked for when the session begins. Empty: there is none.
	Backup string
	// Stall is how long that is. Zero means 2 s.
	Stall time.Duration
}

// A Takeover says what becomes of a connection that comes while another one
// feeds its input.
type Takeover string

// The empty value means TakeoverReplace.
const (
	TakeoverReplace Takeover = "replace" // it takes over; the other one fails with ErrReplaced
	TakeoverRefuse  Takeover = "refuse"  // it fails with ErrBusy
)

// rateWindow is how much may come at once, in time at the highest bitrate: an
// encoder may open with what it has buffered.
const rateWindow = 4 * time.Second

// A rateLimit is a bucket of bytes that fills at the bitrate that is allowed.
type rateLimit struct {
	bits int64 // a second; 0: no limit
	left float64
	at   time.Time
}

// take takes n bytes and reports whether they were there.
func (l *rateLimit) take(now time.Time, n int) bool {
	if l.bits <= 0 {
		return true
	}
	rate := float64(l.bits) / 8
	if l.at.IsZero() {
		l.at, l.left = now, rate*rateWindow.Seconds()
	}
	l.left = min(l.left+rate*now.Sub(l.at).Seconds(), rate*rateWindow.Seconds()) - float64(n)
	l.at = now
	return l.left >= 0
}

// bindLog returns log with the id of the session that b is.
func bindLog(log *slog.Logger, b any) *slog.Logger {
	if o, ok := b.(Observer); ok && o.SessionID() != "" {
		return log.With("session", o.SessionID())
	}
	return log
}
