package main

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
)

// How many records of one message a log takes: at once, and per second after
// that. Whoever sends rubbish does not fill a disk with what is said of it.
const (
	logBurst = 200
	logRate  = 20
	// maxMessages bounds the messages that are counted; libraries make some of theirs
	// up as they go.
	maxMessages = 512
	// maxLogValue bounds a value, in bytes: what a peer sent may be long.
	maxLogValue = 2048
)

// A calmLog is a slog.Handler that leaves out what comes too often. What is worth
// a line of its own, below Info, is left to who asked for it. The next record
// of a message says how many are missing.
type calmLog struct {
	slog.Handler
	counts *messageCounts // of all handlers that come of one
}

type messageCounts struct {
	mu sync.Mutex
	of map[string]*messageCount
}

type messageCount struct {
	left    float64
	at      time.Time
	leftOut int
}

func newCalmLog(h slog.Handler) calmLog {
	return calmLog{h, &messageCounts{of: make(map[string]*messageCount)}}
}

// Handle implements slog.Handler.
func (h calmLog) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo {
		leftOut, ok := h.counts.take(r.Message, time.Now())
		if !ok {
			return nil
		}
		if leftOut > 0 {
			r = r.Clone()
			r.AddAttrs(slog.Int("left_out", leftOut))
		}
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h calmLog) WithAttrs(a []slog.Attr) slog.Handler {
	return calmLog{h.Handler.WithAttrs(a), h.counts}
}

// WithGroup implements slog.Handler.
func (h calmLog) WithGroup(name string) slog.Handler {
	return calmLog{h.Handler.WithGroup(name), h.counts}
}

// take reports whether a message may be written at now, and how many of it were
// not since the last one.
func (c *messageCounts) take(message string, now time.Time) (leftOut int, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.of[message]
	if m == nil {
		if len(c.of) >= maxMessages {
			clear(c.of)
		}
		m = &messageCount{left: logBurst, at: now}
		c.of[message] = m
	}
	m.left = min(m.left+logRate*now.Sub(m.at).Seconds(), logBurst)
	m.at = now
	if m.left < 1 {
		m.leftOut++
		return 0, false
	}
	m.left--
	leftOut, m.leftOut = m.leftOut, 0
	return leftOut, true
}

// plain makes what others chose harmless to whoever reads a log: line breaks,
// escape sequences and marks that turn the direction of the text are
// written out, and what is long is cut.
func plain(_ []string, a slog.Attr) slog.Attr {
	switch v := a.Value.Any().(type) {
	case string:
		if text, changed := plainText(v); changed {
			a.Value = slog.StringValue(text)
		}
	case error:
		if text, changed := plainText(v.Error()); changed {
			a.Value = slog.StringValue(text)
		}
	case fmt.Stringer:
		if text, changed := plainText(v.String()); changed {
			a.Value = slog.StringValue(text)
		}
	}
	return a
}

func plainText(s string) (text string, changed bool) {
	if len(s) > maxLogValue {
		s, changed = strings.ToValidUTF8(s[:maxLogValue], "")+"…", true
	}
	if strings.IndexFunc(s, strange) < 0 {
		return s, changed
	}
	quoted := strconv.Quote(s)
	return strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`), true
}

func strange(r rune) bool { return r == unicode.ReplacementChar || !unicode.IsPrint(r) }
