package upstream

import (
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/registry"
)

// answerAll answers every request of a connection.
func (p *peer2) answerAll() {
	_ = p.WriteSettings()
	for id := p.head(); id != 0; id = p.head() {
		p.respond(id, true, ":status", "200")
	}
}

// A connection that has ended before it was taken in would take no stream, and
// keep others from being opened for good.
func TestAConnectionThatHasEndedIsNotTakenIn(t *testing.T) {
	t.Parallel()
	end := make(chan struct{})
	address := newPeer2(t, func(n int, p *peer2) {
		if n > 0 {
			p.answerAll()
			return
		}
		_ = p.WriteSettings()
		<-end
	})
	c := cluster2(t, registry.ProtocolHTTP2, func(s *Settings) { s.Pool.PendingTimeout = time.Second }, address)
	h := c.hostOf(address)
	h.limits.mu.Lock()
	h.limits.count(h, 1)
	h.limits.mu.Unlock()
	m, err := h.connectMux()
	close(end)
	if err != nil {
		t.Fatal(err)
	}
	until(t, "it has ended", m.retired.Load)
	h.limits.mu.Lock()
	h.muxes.add(m)
	h.limits.mu.Unlock()
	if n := len(h.muxes.all()); n != 0 {
		t.Errorf("%d connections", n)
	}
	if a := fetch(request2(c)); a.status != 200 {
		t.Errorf("%d, %s: %s", a.status, a.reason, a.message)
	}
}

// A connection that is on its way out has no stream, and takes none: a request
// that comes before it is off the list has another one opened.
func TestARequestDoesNotWaitForAConnectionOnItsWayOut(t *testing.T) {
	t.Parallel()
	address := newPeer2(t, func(_ int, p *peer2) { p.answerAll() })
	c := cluster2(t, registry.ProtocolHTTP2, func(s *Settings) { s.Pool.PendingTimeout = time.Second }, address)
	if a := fetch(request2(c)); a.status != 200 {
		t.Fatalf("%d, %s", a.status, a.reason)
	}
	m := c.hostOf(address).muxes.all()[0]
	defer m.retire()
	until(t, "it is unused", m.unused)
	if a := fetch(request2(c)); a.status != 200 {
		t.Errorf("%d, %s: %s", a.status, a.reason, a.message)
	}
}
