package e2e_test

import (
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt/moqttest"
	"github.com/broadcastd/broadcastd/moqt/track"
	"github.com/broadcastd/broadcastd/moqt/wire"
	"github.com/broadcastd/broadcastd/test/harness"
)

// TestInterruptWithGuests ends the daemon with Ctrl-C while there are peers that
// do not leave by themselves: silent ones, ones that have said hello, and ones
// that watch, on both transports. Each is told with NO_ERROR.
func TestInterruptWithGuests(t *testing.T) {
	t.Parallel()
	d := harness.Start(t, harness.Options{Args: []string{"--demo"}})
	pin, err := hex.DecodeString(d.CertHash(t))
	if err != nil {
		t.Fatal(err)
	}
	d.WaitLive(t, "stream/local/demo", 10*time.Second)
	g := target{d, pin}
	var guests []*moqttest.Peer
	for _, scheme := range []string{"moqt", "https"} {
		silent, polite, watching := g.dial(t, scheme), g.dial(t, scheme), g.dial(t, scheme)
		polite.Setup(wire.Setup{})
		watching.Setup(wire.Setup{})
		demo := track.MustNamespace("stream", "local", "demo")
		for i, name := range []string{"catalog", "video"} {
			watching.Open(wire.Subscribe{RequestID: uint64(2 * i), Track: track.Name{Namespace: demo, Name: name}}).Type()
		}
		guests = append(guests, silent, polite, watching)
	}
	took, err := d.Stop()
	if err != nil || took > 2*time.Second {
		t.Errorf("Ctrl-C: ended after %v with %v, want exit 0 within 2 s", took, err)
	}
	for i, p := range guests {
		t.Run(fmt.Sprint("guest ", i), func(*testing.T) { p.ExpectClose(wire.SessionNoError) })
	}
}
