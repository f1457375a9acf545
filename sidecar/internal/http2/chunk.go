package http2

import "sync"

// chunk is a piece of a body that has come and was not read yet.
type chunk struct {
	next *chunk
	b    []byte // its memory
	r, w int
}

// Sizes of chunks: small ones for messages of a few bytes.
const (
	smallChunk = 1 << 10
	largeChunk = frameSize
)

var (
	smallChunks = sync.Pool{New: func() any { return &chunk{b: make([]byte, smallChunk)} }}
	largeChunks = sync.Pool{New: func() any { return &chunk{b: make([]byte, largeChunk)} }}
)

func newChunk(n int) *chunk {
	if n <= smallChunk {
		return smallChunks.Get().(*chunk)
	}
	return largeChunks.Get().(*chunk)
}

func (k *chunk) release() {
	k.next, k.r, k.w = nil, 0, 0
	if len(k.b) == smallChunk {
		smallChunks.Put(k)
	} else {
		largeChunks.Put(k)
	}
}

// queue is a body's chunks, in order.
type queue struct {
	first, last *chunk
	size        int // bytes in it
	memory      int // bytes that its chunks take
}

func (q *queue) push(k *chunk) {
	q.size += k.w - k.r
	q.memory += len(k.b)
	if q.last == nil {
		q.first = k
	} else {
		q.last.next = k
	}
	q.last = k
}

// room is where the next n bytes fit behind the last ones; nil: nowhere.
func (q *queue) room(n int) []byte {
	if q.last == nil || len(q.last.b)-q.last.w < n {
		return nil
	}
	return q.last.b[q.last.w : q.last.w+n]
}

func (q *queue) read(p []byte) int {
	total := 0
	for len(p) > 0 && q.first != nil {
		k := q.first
		n := copy(p, k.b[k.r:k.w])
		k.r += n
		p = p[n:]
		total += n
		if k.r == k.w {
			q.memory -= len(k.b)
			if q.first = k.next; q.first == nil {
				q.last = nil
			}
			k.release()
		}
	}
	q.size -= total
	return total
}

func (q *queue) drop() {
	for k := q.first; k != nil; {
		next := k.next
		k.release()
		k = next
	}
	*q = queue{}
}
