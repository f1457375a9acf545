package upstream

import (
	"maps"
	"sync"

	"github.com/outrigger-mesh/outrigger/sidecar/internal/http2"
)

// troubles counts what the endpoints of a cluster do wrong as servers of HTTP/2.
// That is rare: it takes a lock.
type troubles struct {
	mu     sync.Mutex
	counts map[http2.Trouble]uint64
}

func (t *troubles) add(what http2.Trouble) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.counts == nil {
		t.counts = map[http2.Trouble]uint64{}
	}
	t.counts[what]++
}

func (t *troubles) all() map[http2.Trouble]uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.counts)
}
