package relay_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/broadcastd/broadcastd/moqt"
	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/relay"
)

// TestDrainLate holds that a session that comes when the time of a drain is over
// does not stay: a GOAWAY without a timeout would keep it for ever.
func TestDrainLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := relay.New(relay.Config{})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = r.Run(ctx) }() // which ends with ctx
		r.Drain(ctx, "", 2*time.Second)
		time.Sleep(time.Second) // past the time, of which nobody has used any

		conn, server := moqttest.Pair(moqttest.Config{})
		go func() { _ = r.Serve(ctx, server) }() // how it ends is told to the client
		s, err := moqt.NewSession(conn, moqt.Config{})
		if err != nil {
			t.Fatal(err)
		}
		within, stop := context.WithTimeout(ctx, time.Minute)
		defer stop()
		if err = s.Run(within); err != nil { // nil: it was closed with NO_ERROR
			t.Errorf("a session that comes after a drain ends with %v, want it closed at once", err)
		}
	})
}
