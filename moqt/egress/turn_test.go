package egress

import (
	"testing"
	"time"

	"github.com/broadcastd/broadcastd/moqt/conn"
)

// TestParkedAreTriedAgain parks a stream for want of room; when a less urgent one
// finds that there is some, it does not take all of it.
func TestParkedAreTriedAgain(t *testing.T) {
	r := newRig(t, Config{})
	urgent, lazy := r.track("urgent", priority(1)), r.track("lazy", priority(2))
	r.add(urgent, nil)
	r.add(lazy, nil)
	a, b := subgroup(t, urgent, 0, 0), subgroup(t, lazy, 0, 0)
	objects(t, a, 0, 0, 10)
	objects(t, b, 0, 0, 10)
	r.run()
	r.conn.credit = 0
	objects(t, a, 1, 1, 4000)
	r.run()
	before := len(r.conn.streams[0].data)
	r.now = r.now.Add(5 * time.Millisecond) // half a tick
	r.conn.credit = 3000
	objects(t, b, 1, 1, 100)
	r.run()
	if got := len(r.conn.streams[0].data); got <= before+1000 {
		t.Errorf("%d bytes more of the urgent stream were written, want most of the 3000 that there was room for", got-before)
	}
}

// TestPassedOver is about when a stream of which nothing leaves counts as stuck.
func TestPassedOver(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		name  string
		other stream
		sent  uint64 // of a window of 10,000 bytes
		want  bool
	}{
		{"what comes after it has left", stream{id: 9, urgency: 5, left: 5, shrunk: now.Add(1), unsent: 10}, 20_000, true},
		{"what comes after it left before", stream{id: 9, urgency: 5, left: 5, shrunk: now.Add(-1), unsent: 10}, 20_000, false},
		{"what has left was more urgent then, and is not now", stream{id: 9, urgency: 5, left: 2, shrunk: now.Add(1), unsent: 10}, 20_000, false},
		{"a slow path sends what comes before it", stream{id: 1, urgency: 2, unsent: 10}, 100, false},
		{"an idle path", stream{id: 1, urgency: 2}, 100, true},
		{"what comes before it is stuck itself", stream{id: 1, urgency: 2, unsent: 10, stuck: true}, 100, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			st := &stream{id: 5, urgency: 5, unsent: 10, moved: now}
			c := &core{handed: []*stream{st, &tt.other}}
			if got := c.passedOver(st, conn.Stats{BytesReceived: 1, BytesSent: tt.sent, CongestionWindow: 10_000}); got != tt.want {
				t.Errorf("passedOver = %t, want %t", got, tt.want)
			}
		})
	}
}
