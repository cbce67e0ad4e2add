package transport

import "sync"

// maxQueued is how much a stream queues for its pump: a little more than the
// egress scheduler ever keeps ahead of the network (256 KB), so that its limit
// counts, and a write is refused only when the peer gives no credit.
const maxQueued = 320 << 10

const blockSize = 16 << 10

type block [blockSize]byte

var blocks = sync.Pool{New: func() any { return new(block) }}

// A sendQueue holds bytes between TryWrite and the pump, in pooled blocks. Bytes
// once appended stay in place until they are dropped, so that the pump can write
// from the front while more is appended behind.
type sendQueue struct {
	blocks []*block
	off    int // of the first byte, in the first block
	size   int // bytes held
}

// append copies p to the end of the queue.
func (q *sendQueue) append(p []byte) {
	for len(p) > 0 {
		end := q.off + q.size
		if end == len(q.blocks)*blockSize {
			q.blocks = append(q.blocks, blocks.Get().(*block))
		}
		n := copy(q.blocks[end/blockSize][end%blockSize:], p)
		q.size += n
		p = p[n:]
	}
}

// front returns the bytes at the front that lie in one block, at most limit. They
// stay valid until they are dropped.
func (q *sendQueue) front(limit int) []byte {
	if q.size == 0 {
		return nil
	}
	n := min(q.size, blockSize-q.off, limit)
	return q.blocks[0][q.off : q.off+n]
}

// drop removes n bytes, at most one block, from the front.
func (q *sendQueue) drop(n int) {
	q.off += n
	q.size -= n
	if q.off == blockSize || q.size == 0 && len(q.blocks) > 0 {
		blocks.Put(q.blocks[0])
		q.blocks = q.blocks[:copy(q.blocks, q.blocks[1:])]
		q.off = 0
	}
}

// clear removes everything.
func (q *sendQueue) clear() {
	for _, b := range q.blocks {
		blocks.Put(b)
	}
	*q = sendQueue{}
}
