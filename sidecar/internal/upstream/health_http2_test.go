package upstream

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/outrigger-mesh/outrigger/registry"
)

// TestHTTPChecksSpeakWhatTheClusterSpeaks, unless they say otherwise.
func TestHTTPChecksSpeakWhatTheClusterSpeaks(t *testing.T) {
	both := func(t *testing.T) string {
		return bilingual(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Proto", r.Proto)
			if r.Host != "svc.test" || r.URL.RequestURI() != "/healthz?deep=1" || r.UserAgent() != "outrigger-health" {
				w.WriteHeader(http.StatusTeapot)
			} else if r.ProtoMajor == 2 {
				w.WriteHeader(http.StatusNoContent)
			}
		})
	}
	silent := func(t *testing.T) string {
		return raw(t, func(nc *net.TCPConn) { _, _ = io.Copy(io.Discard, nc); _ = nc.Close() })
	}
	sick := func(t *testing.T) string { return newServer2(t, &http2.Server{}, always(503)).address }
	for name, tt := range map[string]struct {
		cluster, check registry.Protocol
		address        func(*testing.T) string
		healthy        bool
	}{
		"http2":                     {registry.ProtocolHTTP2, "", both, true},
		"grpc":                      {registry.ProtocolGRPC, "", both, true},
		"http":                      {registry.ProtocolHTTP, "", both, false},
		"undeclared":                {"", "", both, false},
		"undeclared, asks in HTTP2": {"", registry.ProtocolHTTP2, both, true},
		"http2, asks in HTTP/1.1":   {registry.ProtocolHTTP2, registry.ProtocolHTTP, both, false},
		"http2, 503":                {registry.ProtocolHTTP2, "", sick, false},
		"http2, no answer":          {registry.ProtocolHTTP2, "", silent, false},
		"http2, nobody":             {registry.ProtocolHTTP2, "", dead, false},
	} {
		t.Run(name, func(t *testing.T) {
			address := tt.address(t)
			c := running(t, cluster2(t, tt.cluster, func(s *Settings) {
				checkEvery(10*time.Millisecond, func(h *Health) {
					overHTTP("/healthz?deep=1")(h)
					h.HTTP.Host, h.HTTP.Protocol, h.HTTP.Statuses = "svc.test", tt.check, []StatusRange{{204, 204}} // over HTTP/2 alone
					h.Timeout = 200 * time.Millisecond
				})(s)
			}, address))
			until(t, "it was checked", func() bool { return endpointStatus(c, address).Check != nil })
			if got := endpointStatus(c, address).Check; got.Healthy != tt.healthy {
				t.Errorf("check %+v, want healthy %t", got, tt.healthy)
			}
			c.Close()
		})
	}
}

func TestChecksFollowWhatTheClusterIsDeclaredToSpeak(t *testing.T) {
	address := newServer2(t, &http2.Server{}, always(200)).address // HTTP/2 alone
	c := running(t, cluster2(t, registry.ProtocolHTTP, func(s *Settings) {
		checkEvery(10*time.Millisecond, overHTTP("/"))(s)
		s.Health.Timeout = 200 * time.Millisecond
	}, address))
	until(t, "it is unhealthy", func() bool { return unhealthyAt(c, address) })
	c.Configure(Config{Name: "svc", Protocol: registry.ProtocolHTTP2, Settings: c.settings})
	until(t, "it is healthy", func() bool { return healthyAt(c, address) })
	if r := finish(request(c)); r.status != 200 {
		t.Errorf("%+v", r)
	}
	c.Close()
}
