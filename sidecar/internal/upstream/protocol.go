package upstream

import (
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/outrigger-mesh/outrigger/middleware"
	"github.com/outrigger-mesh/outrigger/registry"
)

// What an undeclared endpoint is taken for. It is asked, by the first request
// that came over HTTP/2, and the answer is remembered.
const (
	// settingsWait is how long an endpoint has to say that it speaks HTTP/2: a
	// server says so at once, while some of HTTP/1.1 wait for the rest of what
	// they take for a head.
	settingsWait = time.Second
	// onlyHTTP1For is how long one is taken for a server of HTTP/1.1 that did not
	// say so. It is then asked again: it may be a newer one by now.
	onlyHTTP1For = 30 * time.Second
	// plainHTTP1For is for how long such a one is not asked again where HTTP/1.1
	// does as well: by all but gRPC calls. The question is a line in its log.
	plainHTTP1For = 10 * time.Minute
	// spokeHTTP2For is for how long after it has spoken HTTP/2 an endpoint is not
	// taken for a server of HTTP/1.1 only because it closes a connection or says
	// nothing: it is not well, and other requests than those of HTTP/2 would not
	// make it so.
	spokeHTTP2For = 5 * time.Minute
)

// spoken is what is known of the versions of HTTP that a host speaks.
type spoken struct {
	protocol  atomic.Pointer[registry.Protocol] // the cluster's
	onlyHTTP1 atomic.Int64                      // until then, in Unix nanoseconds
	http2     atomic.Int64                      // when it last spoke it, likewise
}

func (s *spoken) declare(p registry.Protocol) { s.protocol.Store(&p) }

func (s *spoken) declared() registry.Protocol { return *s.protocol.Load() }

func (s *spoken) seenHTTP2(now time.Time) {
	s.http2.Store(now.UnixNano())
	s.onlyHTTP1.Store(0)
}

func (s *spoken) spokeHTTP2(now time.Time) bool {
	at := s.http2.Load()
	return at != 0 && now.UnixNano()-at < int64(spokeHTTP2For)
}

func (s *spoken) seenHTTP1(now time.Time) { s.onlyHTTP1.Store(now.Add(onlyHTTP1For).UnixNano()) }

// plainHTTP1 reports whether a request goes out over HTTP/1.1 without asking.
func (s *spoken) plainHTTP1(x *middleware.Exchange, now int64) bool {
	until := s.onlyHTTP1.Load()
	return now < until || now-until < int64(plainHTTP1For-onlyHTTP1For) && !x.GRPC()
}

// overHTTP2 reports whether an attempt's request goes out over HTTP/2. Its error
// is the answer to a request that cannot go out at all.
func (s *spoken) overHTTP2(a *middleware.Attempt, cluster string) (bool, error) {
	r := &a.Exchange().Request
	p := s.declared()
	switch {
	case string(r.Method) == http.MethodConnect:
		return false, nil // the connection itself is the answer
	case p == registry.ProtocolHTTP2 || p == registry.ProtocolGRPC:
		if len(r.Upgrade) > 0 {
			return false, &middleware.Reject{
				Status: http.StatusNotImplemented,
				Reason: middleware.ReasonUpgradeRefused,
				Message: fmt.Sprintf("%s is declared as %s, which has no Upgrade: declare a port of its own for %s, with protocol http",
					cluster, p, r.Upgrade),
			}
		}
		return true, nil
	case p == registry.ProtocolUndeclared:
		now := a.Start.UnixNano()
		// A gRPC call is one of HTTP/2 to its server, however it has come here: by
		// gRPC-Web, say.
		return (r.Proto == middleware.HTTP2 || a.Exchange().GRPC()) && !s.plainHTTP1(a.Exchange(), now), nil
	}
	return false, nil
}
