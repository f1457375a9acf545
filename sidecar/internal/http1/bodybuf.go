package http1

import "sync"

type bodyMemory struct{ b []byte }

var bodyPool = sync.Pool{New: func() any { return &bodyMemory{b: make([]byte, bodyBuffer)} }}

func getBody() *bodyMemory {
	m, _ := bodyPool.Get().(*bodyMemory)
	return m
}

func putBody(m *bodyMemory) { bodyPool.Put(m) }
