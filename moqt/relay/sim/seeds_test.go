package sim_test

import (
	"flag"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt/relay/sim"
)

var (
	oneSeed  = flag.Uint64("sim.seed", 0, "play this seed alone")
	seeds    = flag.Int("sim.seeds", defaultSeeds, "how many seeds to play")
	first    = flag.Uint64("sim.first", 1, "the first of them")
	allLines = flag.Bool("sim.trace", false, "with -sim.seed, print all that happens")
)

// TestSeeds plays scenes and holds the relay's invariants in each. A failure says
// how to play its seed again.
func TestSeeds(t *testing.T) {
	if *oneSeed != 0 {
		var out io.Writer
		if *allLines {
			out = os.Stdout
		}
		res := sim.Run(*oneSeed, out)
		t.Logf("%d things happened in %v, on %d connections; %d objects were received; hash %016x",
			res.Events, res.Took, res.Connections, res.Objects, res.Hash)
		if res.Failure != "" {
			t.Error(res.Failure)
		}
		return
	}
	var next, objects atomic.Int64
	var broken sync.Once
	begin := time.Now()
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for !t.Failed() {
				i := next.Add(1) - 1
				if i >= int64(*seeds) {
					return
				}
				res := sim.Run(*first+uint64(i), nil)
				objects.Add(int64(res.Objects))
				if res.Failure != "" {
					broken.Do(func() { t.Error(res.Failure) })
				}
				if i > 0 && i%1000 == 0 {
					t.Logf("%d seeds, %v", i, time.Since(begin).Round(time.Second))
				}
			}
		})
	}
	wg.Wait()
	if objects.Load() == 0 {
		t.Error("no viewer has received anything")
	}
}

// foundBy are seeds that have found something once. They hold it as long as their
// scenes stay what they are.
var foundBy = []uint64{213, 1248, 1360, 2002, 2659, 2969, 5910, 8307, 10916, 22478, 50636}

func TestSeedsThatFoundSomething(t *testing.T) {
	for _, seed := range foundBy {
		if res := sim.Run(seed, nil); res.Failure != "" {
			t.Error(res.Failure)
		}
	}
}

// TestReplay plays seeds twice: the same must happen, to the last packet.
func TestReplay(t *testing.T) {
	for seed := uint64(1); seed <= min(20, uint64(*seeds)); seed++ {
		a, b := sim.Run(seed, nil), sim.Run(seed, nil)
		if a != b {
			t.Fatalf("seed %d gives\n%+v\nand then\n%+v", seed, a, b)
		}
	}
}
