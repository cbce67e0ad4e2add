package transport

import (
	"slices"
	"sync"
)

// maxQueued is how much a stream queues for its pump: a little more than the
// egress scheduler ever keeps ahead of the network (256 KB), so that its limit
// counts, and a write is refused only when the peer gives no credit.
const maxQueued = 320 << 10

const blockSize = 16 << 10

type block [blockSize]byte

var blocks = sync.Pool{New: func() any { return new(block) }}

// A sendQueue holds bytes between TryWrite and the pump: copies in pooled blocks,
// and bytes that never change as they are. Bytes once appended stay in place
// until they are dropped, so that the pump can write from the front while more
// is appended behind.
type sendQueue struct {
	parts []sendPart
	off   int // of the first byte, in the first part
	size  int // bytes held
}

// A sendPart is bytes that lie together.
type sendPart struct {
	b     []byte
	block *block // what b lies in; nil if b is somebody else's
}

// append copies p to the end of the queue.
func (q *sendQueue) append(p []byte) {
	q.size += len(p)
	for len(p) > 0 {
		last := len(q.parts) - 1
		if last < 0 || q.parts[last].block == nil || len(q.parts[last].b) == blockSize {
			block := blocks.Get().(*block)
			q.parts = append(q.parts, sendPart{block[:0], block})
			last++
		}
		part := &q.parts[last]
		n := copy(part.block[len(part.b):], p)
		part.b = part.block[:len(part.b)+n]
		p = p[n:]
	}
}

// share appends p itself, which never changes. What goes on where the last part
// ends, in the same piece of memory, becomes one with it: one write fills packets
// that two would leave half empty.
func (q *sendQueue) share(p []byte) {
	if len(p) == 0 {
		return
	}
	q.size += len(p)
	if last := len(q.parts) - 1; last >= 0 && q.parts[last].block == nil {
		b := q.parts[last].b
		if n := len(b); cap(b)-n >= len(p) && &b[:n+1][n] == &p[0] {
			q.parts[last].b = b[:n+len(p)]
			return
		}
	}
	q.parts = append(q.parts, sendPart{b: p})
}

// front returns the bytes at the front that lie together, at most limit. They
// stay valid until they are dropped.
func (q *sendQueue) front(limit int) []byte {
	if q.size == 0 {
		return nil
	}
	b := q.parts[0].b[q.off:]
	return b[:min(len(b), limit)]
}

// drop removes n bytes, at most one part, from the front.
func (q *sendQueue) drop(n int) {
	q.off += n
	q.size -= n
	if q.off == len(q.parts[0].b) {
		q.parts[0].release()
		q.parts = slices.Delete(q.parts, 0, 1)
		q.off = 0
	}
}

// clear removes everything.
func (q *sendQueue) clear() {
	for _, p := range q.parts {
		p.release()
	}
	*q = sendQueue{parts: q.parts[:0]}
	clear(q.parts[:cap(q.parts)])
}

func (p sendPart) release() {
	if p.block != nil {
		blocks.Put(p.block)
	}
}
