package transport

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// TestSendQueue compares with a plain slice.
func TestSendQueue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q sendQueue
		var want []byte
		next := byte(0)
		var memory []byte // what follows what is shared
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "append") {
				n := rapid.IntRange(0, 3*blockSize).Draw(t, "size")
				if len(memory) < n {
					memory = make([]byte, 10*blockSize)
				}
				p := memory[:n]
				memory = memory[n:]
				for i := range p {
					p[i] = next
					next++
				}
				if rapid.Bool().Draw(t, "share") {
					q.share(p)
				} else {
					q.append(p)
				}
				want = append(want, p...)
			} else if got := q.front(rapid.IntRange(1, 2*blockSize).Draw(t, "limit")); got != nil {
				if !bytes.HasPrefix(want, got) {
					t.Fatalf("front has %d bytes that were not appended in this order", len(got))
				}
				want = want[len(got):]
				q.drop(len(got))
			}
			if q.size != len(want) || (q.front(1) == nil) != (len(want) == 0) {
				t.Fatalf("holds %d bytes, want %d", q.size, len(want))
			}
		}
		q.clear()
		if q.size != 0 || q.front(1) != nil {
			t.Fatal("holds something after clear")
		}
	})
}

// TestSendQueueSharesWithoutACopy: what never changes is written from where it is.
func TestSendQueueSharesWithoutACopy(t *testing.T) {
	var q sendQueue
	p := make([]byte, 3*blockSize)
	q.append(make([]byte, 10))
	q.share(p[:100])
	q.share(p[100:])
	q.drop(len(q.front(10)))
	if got := q.front(1 << 20); len(got) != len(p) || &got[0] != &p[0] {
		t.Errorf("front is %d bytes elsewhere, want the %d that were shared", len(got), len(p))
	}
}
