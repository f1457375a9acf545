package bolt

import "sync"

// changes tells those who watch a collection that it has moved.
type changes struct {
	mu     sync.Mutex
	moved  map[string]chan struct{} // by collection; closed and forgotten at a change
	closed chan struct{}
	end    func()
}

func newChanges() *changes {
	c := &changes{moved: map[string]chan struct{}{}, closed: make(chan struct{})}
	c.end = sync.OnceFunc(func() { close(c.closed) })
	return c
}

// next is closed at the collection's next change. Who asks reads the
// collection afterwards, so that no change is missed.
func (c *changes) next(collection string) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := c.moved[collection]
	if ch == nil {
		ch = make(chan struct{})
		c.moved[collection] = ch
	}
	return ch
}

func (c *changes) notify(collection string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch := c.moved[collection]; ch != nil {
		close(ch)
		delete(c.moved, collection)
	}
}

func (c *changes) close() { c.end() }
