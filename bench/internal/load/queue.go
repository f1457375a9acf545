package load

// queue is the connections that wait for nothing, first in first out, so that
// all of them are used in turn. It holds as many as it was made for.
type queue struct {
	ring []int
	head int
	n    int
}

func newQueue(size int) queue { return queue{ring: make([]int, size)} }

func (q *queue) push(i int) {
	q.ring[(q.head+q.n)%len(q.ring)] = i
	q.n++
}

func (q *queue) pop() int {
	i := q.ring[q.head]
	q.head = (q.head + 1) % len(q.ring)
	q.n--
	return i
}
