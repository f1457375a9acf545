package http1

import "sync"

// The memory that a body is copied through, in bytes. Streams of which nobody
// knows the length have the small one: there may be many, which mostly wait. A
// body of 64 KiB goes through the large one in one piece with its head, which
// costs a fifth less than in two or three.
const (
	smallBody = 16 << 10
	largeBody = 72 << 10
)

type bodyMemory struct{ b []byte }

var (
	smallBodies = sync.Pool{New: func() any { return &bodyMemory{b: make([]byte, smallBody)} }}
	largeBodies = sync.Pool{New: func() any { return &bodyMemory{b: make([]byte, largeBody)} }}
)

// getBody gives memory for a body of the length, -1 where it is not known.
func getBody(length int64) *bodyMemory {
	pool := &smallBodies
	if length > smallBody-minSpace {
		pool = &largeBodies
	}
	m, _ := pool.Get().(*bodyMemory)
	return m
}

func putBody(m *bodyMemory) {
	if len(m.b) == largeBody {
		largeBodies.Put(m)
	} else {
		smallBodies.Put(m)
	}
}
