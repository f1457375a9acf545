package upstream

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// site is a network with names: what resolving and connecting come to.
type site struct {
	mu      sync.Mutex
	start   time.Time
	lookups []string
	tries   []string
	open    int

	six, four           []string
	sixAfter, fourAfter time.Duration
	fails               bool
	hosts               map[string]time.Duration // by address: how long connecting takes; -1: refused; none: no answer
}

func (s *site) lookup(ctx context.Context, network, _ string) ([]netip.Addr, error) {
	s.mu.Lock()
	s.lookups = append(s.lookups, network)
	list, after, fails := s.four, s.fourAfter, s.fails
	if network == "ip6" {
		list, after = s.six, s.sixAfter
	}
	s.mu.Unlock()
	select {
	case <-time.After(after):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if fails || len(list) == 0 {
		return nil, errors.New("no such host")
	}
	var out []netip.Addr
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out, nil
}

func (s *site) connect(ctx context.Context, address string) (net.Conn, error) {
	s.mu.Lock()
	host := netip.MustParseAddrPort(address).Addr().String()
	s.tries = append(s.tries, fmt.Sprintf("%s@%dms", host, time.Since(s.start).Milliseconds()))
	after, ok := s.hosts[host]
	s.mu.Unlock()
	if !ok {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if after < 0 {
		return nil, errors.New("refused")
	}
	time.Sleep(after) // a connection may be there just when nobody wants it any more
	s.mu.Lock()
	s.open++
	s.mu.Unlock()
	return &siteConn{site: s, to: host}, nil
}

type siteConn struct {
	net.Conn
	site *site
	to   string
}

func (c *siteConn) Close() error {
	c.site.mu.Lock()
	defer c.site.mu.Unlock()
	c.site.open--
	return nil
}

// dials makes connections, one after the other, and says where they lead and
// when which address was tried.
func (s *site) dials(t *testing.T, d *dialer, n int) (to []string) {
	t.Helper()
	for range n {
		synctest.Wait()
		s.start, s.tries = time.Now(), nil
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		nc, err := d.dial(ctx)
		cancel()
		synctest.Wait()
		if err != nil {
			to = append(to, "error")
			continue
		}
		to = append(to, nc.(*siteConn).to)
		nc.Close()
	}
	time.Sleep(time.Second) // those that are late
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open != 0 {
		t.Errorf("%d connections stay open", s.open)
	}
	return to
}

func (s *site) dialer() *dialer {
	return &dialer{address: "svc:80", names: newNames("svc", 80, s.lookup), connect: s.connect}
}

func TestAddressesAreTriedWithAHeadStartEach(t *testing.T) {
	for name, tt := range map[string]struct {
		site  *site
		to    string
		tries string
	}{
		"one": {&site{four: []string{"10.0.0.1"}, hosts: map[string]time.Duration{"10.0.0.1": 0}}, "10.0.0.1", "10.0.0.1@0ms"},
		"families in turn, IPv6 first": {
			&site{
				four: []string{"10.0.0.1", "10.0.0.2"}, six: []string{"fd00::1", "fd00::2"},
				hosts: map[string]time.Duration{"10.0.0.2": 0},
			},
			"10.0.0.2", "fd00::1@0ms 10.0.0.1@250ms fd00::2@500ms 10.0.0.2@750ms",
		},
		"what is refused has no head start": {
			&site{four: []string{"10.0.0.1", "10.0.0.2"}, hosts: map[string]time.Duration{"10.0.0.1": -1, "10.0.0.2": 0}},
			"10.0.0.2", "10.0.0.1@0ms 10.0.0.2@0ms",
		},
		"the first one there wins": {
			&site{
				four:  []string{"10.0.0.1", "10.0.0.2"},
				hosts: map[string]time.Duration{"10.0.0.1": 400 * time.Millisecond, "10.0.0.2": 100 * time.Millisecond},
			},
			"10.0.0.2", "10.0.0.1@0ms 10.0.0.2@250ms",
		},
		"one that is just slow is waited for": {
			&site{
				four:  []string{"10.0.0.1", "10.0.0.2"},
				hosts: map[string]time.Duration{"10.0.0.1": 300 * time.Millisecond},
			},
			"10.0.0.1", "10.0.0.1@0ms 10.0.0.2@250ms",
		},
		"IPv4's answer waits for IPv6's": {
			&site{
				four: []string{"10.0.0.1"}, six: []string{"fd00::1"}, sixAfter: 40 * time.Millisecond,
				hosts: map[string]time.Duration{"10.0.0.1": 0, "fd00::1": 0},
			},
			"fd00::1", "fd00::1@40ms",
		},
		"but not for long": {
			&site{
				four: []string{"10.0.0.1"}, six: []string{"fd00::1"}, sixAfter: 400 * time.Millisecond,
				hosts: map[string]time.Duration{"10.0.0.1": 0, "fd00::1": 0},
			},
			"10.0.0.1", "10.0.0.1@50ms",
		},
		"IPv4's answer may come late": {
			&site{
				four: []string{"10.0.0.1"}, six: []string{"fd00::1"}, fourAfter: 400 * time.Millisecond,
				hosts: map[string]time.Duration{"10.0.0.1": 0},
			},
			"10.0.0.1", "fd00::1@50ms 10.0.0.1@550ms",
		},
		"nobody is there": {
			&site{four: []string{"10.0.0.1", "10.0.0.2"}},
			"error", "10.0.0.1@0ms 10.0.0.2@250ms",
		},
		"all refuse": {
			&site{four: []string{"10.0.0.1", "10.0.0.2"}, hosts: map[string]time.Duration{"10.0.0.1": -1, "10.0.0.2": -1}},
			"error", "10.0.0.1@0ms 10.0.0.2@0ms",
		},
		"no such name": {&site{}, "error", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				to := tt.site.dials(t, tt.site.dialer(), 1)
				if to[0] != tt.to || strings.Join(tt.site.tries, " ") != tt.tries {
					t.Errorf("connected to %s after %s, want %s after %s", to[0], tt.site.tries, tt.to, tt.tries)
				}
			})
		})
	}
}

func TestWhatWorkedAndWhatFailedIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &site{
			four: []string{"10.0.0.1", "10.0.0.2"}, six: []string{"fd00::1"},
			hosts: map[string]time.Duration{"10.0.0.2": 0},
		}
		d := s.dialer()
		s.dials(t, d, 2)
		if diff := cmp.Diff([]string{"10.0.0.2@0ms"}, s.tries); diff != "" {
			t.Errorf("the second time:\n%s", diff)
		}
		if n := len(s.lookups); n != 2 {
			t.Errorf("the name was resolved %d times, want once for each family", n)
		}
		time.Sleep(badFor) // then they have another chance, of the family that worked first
		s.dials(t, d, 1)
		if diff := cmp.Diff([]string{"10.0.0.1@0ms", "fd00::1@250ms", "10.0.0.2@500ms"}, s.tries); diff != "" {
			t.Errorf("after a while:\n%s", diff)
		}
	})
}

func TestAnswersAreKeptForAWhileAndOverFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &site{four: []string{"10.0.0.1"}, hosts: map[string]time.Duration{"10.0.0.1": 0, "10.0.0.9": 0}}
		d := s.dialer()
		s.dials(t, d, 5)
		if len(s.lookups) != 2 {
			t.Errorf("lookups %v, want one for each family", s.lookups)
		}
		s.four = []string{"10.0.0.9"}
		time.Sleep(freshFor)
		if to := s.dials(t, d, 2); !slices.Equal(to, []string{"10.0.0.9", "10.0.0.9"}) || len(s.lookups) != 4 {
			t.Errorf("connected to %v, lookups %v: want the new address, found by one more lookup", to, s.lookups)
		}
		s.fails = true
		time.Sleep(freshFor)
		if to := s.dials(t, d, 3); !slices.Equal(to, []string{"10.0.0.9", "10.0.0.9", "10.0.0.9"}) || len(s.lookups) != 6 {
			t.Errorf("connected to %v, lookups %v: want the last known address, and a pause between failures", to, s.lookups)
		}
		s.fails, s.fourAfter, s.sixAfter = false, time.Minute, time.Minute
		time.Sleep(freshFor)
		begin := time.Now()
		if to := s.dials(t, d, 1); to[0] != "10.0.0.9" || time.Since(begin) != stalePatience+time.Second {
			t.Errorf("connected to %v after %s, want the last known address after %s", to, time.Since(begin)-time.Second, stalePatience)
		}
		d.names.close()
	})
}

func TestANameWhoseAddressesAllFailIsResolvedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &site{four: []string{"10.0.0.1"}, hosts: map[string]time.Duration{"10.0.0.1": -1, "10.0.0.2": 0}}
		d := s.dialer()
		s.dials(t, d, 1)
		s.four = []string{"10.0.0.2"}
		if to := s.dials(t, d, 1); to[0] != "10.0.0.2" { // a second later
			t.Errorf("connected to %v", to)
		}
	})
}

func TestACanceledRequestEndsItsDial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &site{four: []string{"10.0.0.1", "10.0.0.2"}}
		d := s.dialer()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(100*time.Millisecond, cancel)
		begin := time.Now()
		if _, err := d.dial(ctx); !errors.Is(err, context.Canceled) || time.Since(begin) != 100*time.Millisecond {
			t.Errorf("error %v after %s", err, time.Since(begin))
		}
		if s.dials(t, d, 1); s.tries[0] != "10.0.0.1@0ms" {
			t.Errorf("tried %v: what nobody waited for has not failed", s.tries)
		}
	})
}

// named makes the cluster's only endpoint a name that leads to addresses.
func named(t *testing.T, refuse func(netip.AddrPort) bool, port string, addresses ...string) *Cluster {
	t.Helper()
	c := NewCluster(Config{Name: "svc"})
	c.Refuse(refuse)
	c.SetEndpoints(endpoints("svc.test:" + port))
	t.Cleanup(c.Close)
	h := c.hostOf("svc.test:" + port)
	h.dialer.names.lookup = func(_ context.Context, network, _ string) ([]netip.Addr, error) {
		var out []netip.Addr
		for _, a := range addresses {
			if ip := netip.MustParseAddr(a); ip.Is4() == (network == "ip4") {
				out = append(out, ip)
			}
		}
		return out, nil
	}
	return c
}

func TestANameWithADeadAndALiveAddressIsServed(t *testing.T) {
	_, port, _ := net.SplitHostPort(server(t, always(204)))
	c := named(t, nil, port, "127.0.0.77", "127.0.0.1")
	if r := call(c); r.status != 204 {
		t.Errorf("answered %+v", r)
	}
}

func TestNoAddressOfANameMayBeTheSidecarsOwn(t *testing.T) {
	_, port, _ := net.SplitHostPort(server(t, always(204)))
	own := func(a netip.AddrPort) bool { return a.Addr() == netip.MustParseAddr("127.0.0.1") }
	for name, tt := range map[string]struct {
		addresses []string
		status    int
		reason    middleware.Reason
	}{
		"the only one": {[]string{"127.0.0.1"}, 508, middleware.ReasonLoop},
		"the last one": {[]string{"127.0.0.77", "127.0.0.1"}, 508, middleware.ReasonLoop},
		"in IPv6":      {[]string{"::ffff:127.0.0.1"}, 508, middleware.ReasonLoop},
	} {
		t.Run(name, func(t *testing.T) {
			if r := call(named(t, own, port, tt.addresses...)); r.status != tt.status || r.reason != tt.reason {
				t.Errorf("answered %+v", r)
			}
		})
	}
}
