package load

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/broadcastd/broadcastd/bench/stat"
)

// A JoinsConfig says how viewers come and go.
type JoinsConfig struct {
	Target  Target
	Profile Profile
	// Every is how often one comes, and Stay how long each stays after its first
	// picture.
	Every, Stay time.Duration
	// From and To are when, after the schedule began.
	From, To time.Duration
}

// Joins is what viewers met that came while media flowed. Times are counted from
// before the request; those of viewers that failed are as long as the run.
type Joins struct {
	Started int      `json:"started"`
	Failed  int      `json:"failed"`
	Errors  []string `json:"errors,omitempty"`
	// Connect is the time of the handshakes, up to the peer's SETUP.
	Connect stat.Histogram `json:"connect"`
	// Byte is from the subscription to the first byte of media, Picture to the
	// whole first object of the first track. Where the protocol has no
	// subscription or the connection cannot tell, Byte is empty.
	Byte    stat.Histogram `json:"first_byte"`
	Picture stat.Histogram `json:"first_picture"`
}

// Add adds what the viewers of another process met.
func (j *Joins) Add(o Joins) {
	j.Started += o.Started
	j.Failed += o.Failed
	j.Errors = append(j.Errors, o.Errors...)
	j.Errors = j.Errors[:min(len(j.Errors), maxErrors)]
	j.Connect.Merge(&o.Connect)
	j.Byte.Merge(&o.Byte)
	j.Picture.Merge(&o.Picture)
}

// golden spreads the moments over the groups: successive multiples of it fill
// the unit interval evenly.
const golden = 0.6180339887498949

// at returns when viewer i comes: evenly, but at another point of a group each
// time.
func (c JoinsConfig) at(i int) time.Duration {
	phase := float64(i) * golden
	phase -= float64(int(phase))
	return c.From + time.Duration((float64(i)+phase)*float64(c.Every))
}

// Run lets viewers come and go by the schedule that begins at began, and returns
// what they met once the last has left.
func (c JoinsConfig) Run(ctx context.Context, began time.Time) Joins {
	// One track is asked for: the first, which has the pictures.
	c.Profile.Tracks = c.Profile.Tracks[:1]
	var sum Joins
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i := 0; c.at(i) < c.To && ctx.Err() == nil; i++ {
		wait(ctx, began.Add(c.at(i)))
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			met := c.one(ctx)
			mu.Lock()
			defer mu.Unlock()
			sum.Add(met)
		})
	}
	wg.Wait()
	return sum
}

// one joins, stays and leaves.
func (c JoinsConfig) one(ctx context.Context) Joins {
	met := Joins{Started: 1}
	fail := func(err error) Joins {
		met.Failed, met.Errors = 1, []string{err.Error()}
		return met
	}
	ctx, cancel := context.WithTimeout(ctx, JoinTimeout)
	defer cancel()
	began := time.Now()
	conn, err := dialViewer(ctx, c.Target, c.Profile, true)
	if err != nil {
		return fail(err)
	}
	met.Connect.Add(time.Since(began))
	began = time.Now()
	if err := conn.Subscribe(ctx); err != nil {
		_ = conn.Close()
		return fail(err)
	}
	came := make(chan time.Time, 1)
	var wrong error
	var once sync.Once
	watching, leave := context.WithCancelCause(ctx)
	defer leave(errDone)
	ended := make(chan error, 1)
	go func() {
		ended <- conn.Run(watching, func(p []byte) {
			once.Do(func() {
				wrong = c.check(p)
				came <- time.Now()
			})
		})
	}()
	select {
	case at := <-came:
		if wrong != nil {
			err = wrong
			break
		}
		met.Picture.Add(at.Sub(began))
		if v, ok := conn.(*moqViewer); ok && v.tap != nil {
			met.Byte.Add(v.tap.firstByte().Sub(began))
		}
		wait(ctx, at.Add(c.Stay))
	case err = <-ended:
		ended <- err
	}
	leave(errDone)
	_ = conn.Close()
	<-ended
	if err != nil {
		return fail(err)
	}
	return met
}

// check sees to it that p begins a group.
func (c JoinsConfig) check(p []byte) error {
	s, ok := readStamp(p)
	if !ok || s.track != 0 {
		return fmt.Errorf("load: the first object is not one of the first track's")
	}
	if _, first := c.Profile.group(c.Profile.Tracks[0], s.index); s.index != first {
		return fmt.Errorf("load: the first object is number %d of its group", s.index-first)
	}
	return nil
}
