package ingest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/broadcastd/broadcastd/cmaf"
)

// fakeOpener keeps what the broadcasts it opened were told, one line a call.
type fakeOpener struct {
	mu    sync.Mutex
	lines []string
	fail  error
}

func (o *fakeOpener) note(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lines = append(o.lines, fmt.Sprintf(format, args...))
}

// take returns the lines since the last call.
func (o *fakeOpener) take() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	lines := o.lines
	o.lines = nil
	return lines
}

func (o *fakeOpener) Open(_ context.Context, name string, _ Peer) (cmaf.Broadcast, error) {
	if o.fail != nil {
		return nil, o.fail
	}
	o.note("open %s", name)
	return &fakeBroadcast{o, name}, nil
}

type fakeBroadcast struct {
	o    *fakeOpener
	name string
}

func (b *fakeBroadcast) AddTrack(name string, h cmaf.Header) (cmaf.Sink, error) {
	b.o.note("%s add %s %s", b.name, name, h.Init)
	return &fakeSink{b.o, b.name + "/" + name}, nil
}

func (b *fakeBroadcast) Event(e cmaf.Event) error {
	b.o.note("%s event %s", b.name, e.Scheme)
	return nil
}

func (b *fakeBroadcast) Discontinuity(string) { b.o.note("%s discontinuity", b.name) }

func (b *fakeBroadcast) Anchor(media cmaf.Time, _ time.Time) {
	b.o.note("%s anchor %v", b.name, media)
}

func (b *fakeBroadcast) Close(reason error) error {
	switch {
	case reason == nil:
		b.o.note("%s end", b.name)
	case errors.Is(reason, ErrLost):
		b.o.note("%s end lost", b.name)
	case errors.Is(reason, ErrEnded):
		b.o.note("%s end stopped", b.name)
	default:
		b.o.note("%s end %v", b.name, reason)
	}
	return nil
}

type fakeSink struct {
	o    *fakeOpener
	name string
}

func (s *fakeSink) WriteChunk(c cmaf.Chunk) error {
	s.o.note("%s chunk %d", s.name, c.DecodeTime)
	return nil
}

func (s *fakeSink) Close() error { s.o.note("%s close", s.name); return nil }
