package upstream

// HTTP/2 connections count among those of the cluster: one that has no stream
// makes room for another connection, as unused ones of HTTP/1.1 do.

// dropUnusedMux closes an HTTP/2 connection without streams where that leaves
// room for another connection to h. mu is held.
func (l *limits) dropUnusedMux(h *host, p *Pool) {
	if !l.roomAt(h, p) {
		l.dropOneOf(h)
		return
	}
	for _, other := range *l.hosts.Load() {
		if other != h && l.dropOneOf(other) {
			return
		}
	}
	l.dropOneOf(h)
}

func (l *limits) dropOneOf(h *host) bool {
	for _, m := range h.muxes.all() {
		if m.unused() {
			l.dropMux(m)
			return true
		}
	}
	return false
}

// dropMux closes a connection that is not used any more. mu is held.
func (l *limits) dropMux(m *mux) {
	m.retired.Store(true)
	m.host.muxes.remove(m)
	if !m.tracked.closed.Swap(true) { // its Close has nothing left to do here
		l.count(m.host, -1)
	}
	m.conn.Close()
}

// makeWay closes a connection that has just lost its last stream, where somebody
// waits for the room that it takes.
func (l *limits) makeWay(m *mux) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.queue.Front()
	if e == nil {
		return
	}
	p, w := l.pool.Load(), e.Value.(*waiter)
	if w.host == m.host && w.shared {
		return // who waits for a stream there has this one
	}
	if w.host == m.host || l.roomAt(w.host, p) && !l.room(w.host, p) {
		if m.unused() {
			l.dropMux(m)
			l.dispatch(m.host)
		}
	}
}
