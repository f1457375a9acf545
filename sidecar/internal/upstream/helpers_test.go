package upstream

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/outrigger-mesh/outrigger/middleware"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long tests wait for what comes at once.
const patience = 10 * time.Second

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
	}
}

// wire is the client's side of exchanges that nobody looks at.
type wire struct{}

func (wire) Interrupt(*middleware.Exchange, error)                    {}
func (wire) Inform(int, *middleware.Header) error                     { return nil }
func (wire) Rematch(*middleware.Exchange) (*middleware.Target, error) { return nil, errors.New("no") }

// request makes an exchange to the cluster. try, if any, stands around the
// transport.
func request(c *Cluster, try ...func(*middleware.Attempt)) *middleware.Exchange {
	x := middleware.NewExchange(wire{})
	x.Start = time.Now()
	x.Request.Proto = middleware.HTTP11
	x.Request.Method, x.Request.Authority, x.Request.Target = []byte("GET"), []byte("svc"), []byte("/")
	x.SetTarget(&middleware.Target{
		Pick: func(*middleware.Exchange) (middleware.Picker, error) { return c, nil },
		Try: middleware.TryHandlerFunc(func(a *middleware.Attempt) error {
			for _, f := range try {
				f(a)
			}
			return middleware.Transport.Try(a)
		}),
	})
	return x
}

// only is a picker that always takes the same endpoint.
type only struct{ endpoint *middleware.Endpoint }

func (o only) Pick(*middleware.Attempt) (*middleware.Endpoint, error) { return o.endpoint, nil }

// requestTo is request to one endpoint of the cluster.
func requestTo(c *Cluster, address string) *middleware.Exchange {
	h := c.hostOf(address)
	e := &middleware.Endpoint{Key: address, Address: address, Weight: 1, Stats: &h.stats, Transport: observed{h}}
	x := request(c)
	x.SetTarget(&middleware.Target{
		Pick: func(*middleware.Exchange) (middleware.Picker, error) { return only{e}, nil },
		Try:  middleware.Transport,
	})
	return x
}

// result is what an exchange came to.
type result struct {
	status   int
	reason   middleware.Reason
	endpoint string
	unsent   bool
}

// finish serves the exchange to its end.
func finish(x *middleware.Exchange) (r result) {
	x.Serve(middleware.Router)
	r.status, r.reason = x.Response.Status, x.Reason()
	if as := x.Attempts(); len(as) > 0 {
		r.endpoint, r.unsent = as[0].Endpoint.Key, as[0].Unsent()
	}
	var err error
	if x.Response.Body != nil {
		_, err = io.Copy(io.Discard, x.Response.Body)
	}
	x.End(err)
	return r
}

func call(c *Cluster) result { return finish(request(c)) }

// server is an HTTP server on loopback and its address.
func server(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func always(status int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
}

// raw is a TCP server on loopback that does with a connection what f says.
func raw(t *testing.T, f func(*net.TCPConn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			f(nc.(*net.TCPConn))
		}
	}()
	t.Cleanup(func() {
		ln.Close()
		<-ended
	})
	return ln.Addr().String()
}

// dead is an address that refuses connections.
func dead(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// cluster makes one of the addresses, with settings changed by change.
func cluster(t testing.TB, change func(*Settings), addresses ...string) *Cluster {
	t.Helper()
	s := DefaultSettings()
	if change != nil {
		change(&s)
	}
	c := NewCluster(Config{Name: "svc", Settings: &s})
	c.SetEndpoints(endpoints(addresses...))
	t.Cleanup(c.Close)
	return c
}

func endpoints(addresses ...string) []EndpointConfig {
	var list []EndpointConfig
	for _, a := range addresses {
		list = append(list, EndpointConfig{Address: a})
	}
	return list
}

func (c *Cluster) hostOf(address string) *host {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hosts[address]
}

// endpointStatus is what the dump says of one endpoint.
func endpointStatus(c *Cluster, address string) EndpointStatus {
	for _, e := range c.Status().Endpoints {
		if e.Address == address {
			return e
		}
	}
	return EndpointStatus{}
}
