package upstream

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// blackhole is an address of loopback that answers nothing to who connects: its
// queue of connections is full and nobody takes one out.
func blackhole(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 78}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	address := netip.AddrPortFrom(netip.AddrFrom4(sa.(*syscall.SockaddrInet4).Addr), uint16(sa.(*syscall.SockaddrInet4).Port))
	for range 8 {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		nc, err := new(net.Dialer).DialContext(ctx, "tcp", address.String())
		cancel()
		if err != nil {
			return address
		}
		t.Cleanup(func() { nc.Close() })
	}
	t.Skip("this system takes connections beyond the queue's length")
	return address
}

func TestABlackHoleIsGivenUpAfterTheConnectTimeout(t *testing.T) {
	hole := blackhole(t)
	c := cluster(t, nil, hole.String())
	s := DefaultSettings()
	c.Configure(Config{Name: "svc", ConnectTimeout: 30 * time.Millisecond, Settings: &s})
	if r := call(c); r.status != 503 || r.reason != middleware.ReasonConnectFailed || !r.unsent {
		t.Errorf("answered %+v", r)
	}
	empty(t, c)
}

func TestABlackHoleBesideALiveAddressCostsOneHeadStart(t *testing.T) {
	hole := blackhole(t)
	port := strconv.Itoa(int(hole.Port()))
	ln, err := net.Listen("tcp", "127.0.0.79:"+port)
	if err != nil {
		t.Skipf("the port is taken on the other address: %v", err)
	}
	defer ln.Close()
	c := named(t, nil, port, "127.0.0.78", "127.0.0.79")
	h := c.hostOf("svc.test:" + port)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	nc, err := h.dialer.dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	next, err := h.dialer.names.get(ctx)
	if err != nil || next[0].Addr().String() != "127.0.0.79" {
		t.Errorf("the next connection begins with %v (%v), want the live address", next, err)
	}
}
