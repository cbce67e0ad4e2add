package client

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/transport"
	"github.com/broadcastd/broadcastd/moqt/wire"
	"github.com/broadcastd/broadcastd/viewer"

	"github.com/broadcastd/broadcastd/moqt"
)

// open returns a publisher that the relay has accepted.
func (w *world) open(key string) *BroadcastPublisher {
	w.t.Helper()
	p, err := w.streams().OpenPublisher(w.ctx, PublisherConfig{Input: "lv_1", StreamKey: key})
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// write writes fragments of video, each named by a letter and of 100 ms; upper
// case is a random access point.
func write(t *testing.T, p *BroadcastPublisher, letters string) {
	t.Helper()
	for _, c := range letters {
		at := int64(strings.IndexRune(alphabet, c)) * ticks / 10
		if err := p.Write(fragment(1, at, c >= 'A' && c <= 'Z', string(c))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

const alphabet = "AbcdefghijKlmnopqrstUvwxyz"

func TestPublishAndView(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.open("good")
		if err := p.Write(header(t, "video.mp4")); err != nil {
			t.Fatal(err)
		}
		early := w.view(w.streams(), ViewerConfig{Play: "moq://relay.example/playback/lv_1?tok=good"})
		write(t, p, "Abcdefghij")
		early.expect(100*time.Millisecond, "init A b c d e f g h i j")
		write(t, p, "Klm")
		late := w.view(w.streams(), ViewerConfig{Play: "lv_1"})
		late.expect(200*time.Millisecond, "init K l m")
		write(t, p, "no")
		late.expect(100*time.Millisecond, "n o")
		early.expect(0, "K l m n o")
		if reason, err := p.Close(Finished); reason != Finished || err != nil {
			t.Errorf("Close: %s, %v", reason, err)
		}
		early.ends(Complete, false)
		late.ends(Complete, false)
		if e, ok := errors.AsType[*CloseError](p.Write(nil)); !ok || e.Reason != Finished {
			t.Errorf("a write after Close: %v", e)
		}
	})
}

// The time that is stated goes with the chunk; otherwise it is the media time.
func TestTimestamps(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.open("good")
		v, err := w.streams().Viewer(ViewerConfig{Play: "lv_1"})
		if err != nil {
			t.Fatal(err)
		}
		var got []int64
		w.wg.Go(func() {
			v.Run(w.ctx, func(c Chunk) error { got = append(got, c.TimestampUs); return nil })
		})
		for _, err := range []error{
			p.WriteAt(header(t, "video.mp4"), 7_000_000),
			p.WriteAt(fragment(1, 0, true, "A"), 7_000_000),
			p.Write(fragment(1, ticks, false, "b")),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(3 * time.Second)
		v.Close()
		synctest.Wait()
		if len(got) != 3 || got[0] != 7_000_000 || got[1] != 7_000_000 || got[2] != 1_000_000 {
			t.Errorf("timestamps %d", got)
		}
		p.Close(Finished)
	})
}

func TestReconnect(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.open("good")
		if err := p.Write(header(t, "video.mp4")); err != nil {
			t.Fatal(err)
		}
		v := w.view(w.streams(), ViewerConfig{Play: "lv_1"})
		write(t, p, "Abcdefghij")
		v.expect(100*time.Millisecond, "init A b c d e f g h i j")
		w.cut(true)
		write(t, p, "Klm")
		w.cut(false) // it is back
		v.expect(2*time.Second, "init K l m")
		write(t, p, "nopqrstUvw")
		v.expect(100*time.Millisecond, "n o p q r s t U v w")
		p.Close(ClosedByCaller)
		v.ends(Complete, false)
	})
}

// A viewer that comes back into the group that it was playing gets the header and
// what is new of it.
func TestViewerReturns(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.open("good")
		if err := p.Write(header(t, "video.mp4")); err != nil {
			t.Fatal(err)
		}
		v := w.view(w.streams(), ViewerConfig{Play: "lv_1"})
		write(t, p, "Abcde")
		v.expect(100*time.Millisecond, "init A b c d e")
		w.cutPaths("/playback", false)
		v.expect(time.Second, "init")
		write(t, p, "fghijKl")
		v.expect(100*time.Millisecond, "f g h i j K l")
		p.Close(Finished)
		v.ends(Complete, false)
	})
}

func TestCloseReasons(t *testing.T) {
	for _, tt := range []struct {
		name      string
		do        func(w *world, p *BroadcastPublisher, v *viewing)
		publisher CloseReason
		viewer    CloseReason
		fails     bool // both
	}{
		{"finished", func(_ *world, p *BroadcastPublisher, _ *viewing) { p.Close(Finished) }, Finished, Complete, false},
		{"closed by the caller", func(_ *world, p *BroadcastPublisher, v *viewing) { v.v.Close(); p.Close("") }, ClosedByCaller, ClosedByCaller, false},
		{"revoked", func(w *world, _ *BroadcastPublisher, _ *viewing) { w.gate.revoke() }, AuthFailed, AuthFailed, true},
		{"the network is lost for good", func(w *world, _ *BroadcastPublisher, _ *viewing) { w.cut(true) }, Network, Network, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				p := w.open("good")
				if err := p.Write(header(t, "video.mp4")); err != nil {
					t.Fatal(err)
				}
				v := w.view(w.streams(), ViewerConfig{Play: "lv_1"})
				write(t, p, "Abc")
				v.expect(100*time.Millisecond, "init A b c")
				tt.do(w, p, v)
				v.ends(tt.viewer, tt.fails)
				<-p.ended
				if p.reason != tt.publisher || (p.err != nil) != tt.fails {
					t.Errorf("publisher ended with %s, %v, want %s", p.reason, p.err, tt.publisher)
				}
				if err := p.Write(fragment(1, 0, true, "A")); err == nil {
					t.Error("a write after the end is taken")
				}
			})
		})
	}
}

// What is wrong with a key or a token is told at once, and never as a fault of
// the network.
func TestRefused(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		s := w.streams()
		began := time.Now()
		_, err := s.OpenPublisher(t.Context(), PublisherConfig{Input: "lv_1", StreamKey: "bad"})
		if reasonOf(err) != AuthFailed {
			t.Errorf("a wrong stream key: %v", err)
		}
		s.Token = "bad"
		w.view(s, ViewerConfig{Play: "lv_1"}).ends(AuthFailed, true)
		w.view(s, ViewerConfig{Play: "moqt://relay.example/playback/lv_1?tok=expired"}).ends(AuthFailed, true)
		if took := time.Since(began); took > time.Second {
			t.Errorf("it took %v", took)
		}
		began = time.Now()
		w.view(w.streams(), ViewerConfig{Play: "lv_1", Wait: 3 * time.Second}).ends(Network, true) // nobody publishes
		if took := time.Since(began); took < 3*time.Second || took > 4*time.Second {
			t.Errorf("it was waited for %v, want 3 s", took)
		}
	})
}

// A hand that fails, and a context that ends, are the caller's doing.
func TestCallerEnds(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		p := w.open("good")
		if err := p.Write(header(t, "video.mp4")); err != nil {
			t.Fatal(err)
		}
		write(t, p, "Abc")
		v, err := w.streams().Viewer(ViewerConfig{Play: "lv_1"})
		if err != nil {
			t.Fatal(err)
		}
		full := errors.New("disk full")
		if reason, err := v.Run(t.Context(), func(Chunk) error { return full }); reason != ClosedByCaller || !errors.Is(err, full) {
			t.Errorf("%s, %v", reason, err)
		}
		if _, err := v.Run(t.Context(), nil); err == nil {
			t.Error("a viewer runs twice")
		}
		p.Close(Finished)
	})
}

func TestReasonOf(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want CloseReason
	}{
		{&moqt.SessionError{Code: wire.SessionUnauthorized, Remote: true}, AuthFailed},
		{&moqt.SessionError{Code: wire.SessionUnauthorized}, Network}, // we said so
		{&moqt.SessionError{Code: wire.SessionProtocolViolation, Remote: true}, Network},
		{&track.RequestError{Code: track.RequestExpiredAuthToken}, AuthFailed},
		{&track.RequestError{Code: wire.RequestMalformedAuthToken}, AuthFailed},
		{&track.RequestError{Code: track.RequestDoesNotExist}, Network},
		{&track.EndError{Code: track.DoneUnauthorized}, AuthFailed},
		{&track.EndError{Code: track.DoneExpired}, AuthFailed},
		{&track.EndError{Code: track.DoneInternalError}, Network},
		{&transport.DialError{Kind: transport.ErrRefused, Status: 403}, AuthFailed},
		{&transport.DialError{Kind: transport.ErrUnreachable}, Network},
		{&Error{Status: 401}, AuthFailed},
		{&Error{Status: 404}, Network},
		{viewer.ErrNotThere, Network},
	} {
		if got := reasonOf(tt.err); got != tt.want {
			t.Errorf("reasonOf(%v) = %s, want %s", tt.err, got, tt.want)
		}
	}
}

func TestStreamsConfig(t *testing.T) {
	s := Streams{Relay: "moqt://relay.example"}
	for _, tt := range []struct {
		name, play, want string
		s                Streams
	}{
		{"an id", "lv_1", "", s},
		{"an id without a relay", "lv_1", "relay's URL", Streams{}},
		{"a URL", "moq://h/playback/lv_1?tok=x", "", Streams{}},
		{"a recording", "pb_1", "recordings", s},
		{"a recording's URL", "moq://h/playback/pb_1?tok=x", "recordings", s},
		{"another path", "https://h/watch/lv_1?tok=secret", "not of the form", s},
		{"another scheme", "http://h/playback/lv_1?tok=secret", "not of the form", s},
		{"nothing", "", "neither", s},
		{"a path", "lv_1/../x", "neither", s},
	} {
		_, err := tt.s.Viewer(ViewerConfig{Play: tt.play})
		if got := text(err); (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) || strings.Contains(got, "secret") {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	if _, err := s.Publisher(PublisherConfig{}); err == nil {
		t.Error("a publisher without an input")
	}
	if _, err := (Streams{Relay: "http://x"}).Publisher(PublisherConfig{Input: "lv_1"}); err == nil {
		t.Error("a publisher to http")
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
