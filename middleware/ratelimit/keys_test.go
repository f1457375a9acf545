package ratelimit

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/middleware/middlewaretest"
)

func source(addr string) func(*middleware.Request) {
	return func(r *middleware.Request) { r.Peer.Addr = netip.MustParseAddrPort(addr) }
}

func target(path string) func(*middleware.Request) {
	return func(r *middleware.Request) { r.Target = []byte(path) }
}

func tenant(values ...string) func(*middleware.Request) {
	return func(r *middleware.Request) {
		for _, v := range values {
			r.Header.Add("X-Tenant", v)
		}
	}
}

func TestRequestsOfOneKeyShareABucket(t *testing.T) {
	tests := map[string]struct {
		key   string
		a, b  func(*middleware.Request)
		share bool
	}{
		"none":                        {"none", source("10.0.0.1:1"), source("10.0.0.2:1"), true},
		"one address":                 {"source", source("10.0.0.1:1"), source("10.0.0.1:2"), true},
		"two addresses":               {"source", source("10.0.0.1:1"), source("10.0.0.2:1"), false},
		"one address, mapped":         {"source", source("10.0.0.1:1"), source("[::ffff:10.0.0.1]:1"), true},
		"one IPv6 network":            {"source", source("[2001:db8::1]:1"), source("[2001:db8::ffff:1]:1"), true},
		"two IPv6 networks":           {"source", source("[2001:db8::1]:1"), source("[2001:db8:0:1::1]:1"), false},
		"no address":                  {"source", nil, nil, true},
		"one path":                    {"path", target("/a?x=1"), target("/a?x=2"), true},
		"two paths":                   {"path", target("/a"), target("/b"), false},
		"one value":                   {"{header: X-Tenant}", tenant("a"), tenant("a"), true},
		"two values":                  {"{header: x-tenant}", tenant("a"), tenant("b"), false},
		"the first line counts":       {"{header: x-tenant}", tenant("a", "b"), tenant("a"), true},
		"without a value":             {"{header: x-tenant}", tenant(), tenant(), true},
		"with and without":            {"{header: x-tenant}", tenant("a"), tenant(), false},
		"an empty one is none at all": {"{header: x-tenant}", tenant(""), tenant(), true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newSite(t, "{rate: 1/h, burst: 1, key: "+tt.key+"}")
			if !s.ask(tt.a) || s.ask(tt.a) {
				t.Fatal("of two requests the first one should pass")
			}
			if passed := s.ask(tt.b); passed == tt.share {
				t.Errorf("the other one passed: %t", passed)
			}
		})
	}
}

func TestTheFullestBucketMakesRoomForANewKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSite(t, "{rate: 1/s, burst: 5, key: path, maxKeys: 3}")
		s.askN(5, target("/busy"))
		s.askN(2, target("/some"))
		s.askN(1, target("/little"))
		s.askN(1, target("/new")) // in place of /little
		if got := s.askN(5, target("/busy")); got != 0 {
			t.Errorf("/busy got %d more: its bucket was given up", got)
		}
		if got := s.askN(5, target("/some")); got != 3 {
			t.Errorf("/some got %d more, want 3", got)
		}
		evicted := "outrigger_ratelimit_evicted_total{direction=inbound,id=ratelimit,service=}"
		if got := middlewaretest.Samples(t, s.registry)[evicted]; got != 1 {
			t.Errorf("%v buckets were given up, want 1", got)
		}
		time.Sleep(time.Minute) // all are full: giving one up is no loss
		s.askN(1, target("/other"))
		if got := middlewaretest.Samples(t, s.registry)[evicted]; got != 1 {
			t.Errorf("%v buckets were given up, want 1", got)
		}
	})
}

func TestKeysWithoutEndNeedNoMemoryWithoutEnd(t *testing.T) {
	const most = 1000
	b := newBuckets(Key{By: ByPath}, most)
	l := b.use(b.next(newLimit(Rate{1, time.Hour}, 1)))
	for i := range uint64(100 * most) {
		b.takeOf(l, i*0x9e3779b97f4a7c15)
	}
	kept := 0
	for i := range b.shards {
		s := &b.shards[i]
		if len(s.entries) != len(s.index) {
			t.Errorf("%d entries, %d of them are found", len(s.entries), len(s.index))
		}
		kept += len(s.entries)
	}
	if kept > most || kept < most*9/10 {
		t.Errorf("%d buckets, want %d at most and nearly as many", kept, most)
	}
}
