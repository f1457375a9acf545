package config_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/internal/balance"
	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/config"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

func settings(t *testing.T, text string) upstream.Settings {
	t.Helper()
	n, err := conf.Parse("sidecar.yaml", []byte("upstreams:\n  a: {endpoints: [127.0.0.1:9000], "+text+"}\n"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Decode(n, config.Default())
	if err != nil {
		t.Fatal(err)
	}
	return c.Upstreams["a"].Settings
}

func TestUpstreamSettingsLieOverTheirDefaults(t *testing.T) {
	want := func(change func(*upstream.Settings)) upstream.Settings {
		s := upstream.DefaultSettings()
		change(&s)
		return s
	}
	health := func(change func(*upstream.Health)) func(*upstream.Settings) {
		return func(s *upstream.Settings) {
			h := upstream.DefaultHealth()
			change(&h)
			s.Health = &h
		}
	}
	for name, tt := range map[string]struct {
		text string
		want upstream.Settings
	}{
		"none": {"", upstream.DefaultSettings()},
		"balancer": {"balancer: {policy: least_request, leastRequest: {choices: 3}, panicThreshold: 20}", want(func(s *upstream.Settings) {
			s.Balancer.Policy, s.Balancer.LeastRequest.Choices, s.Balancer.PanicThreshold = balance.PolicyLeastRequest, 3, 20
		})},
		"pool": {
			"pool: {maxConnections: 100, maxConnectionsPerEndpoint: 10, maxPending: 0, pendingTimeout: 1s, maxRequests: 50, " +
				"maxRequestsPerConnection: 1000, maxIdlePerEndpoint: 5, idleTimeout: 0, maxAge: 10m, " +
				"http2: {connections: 3, streams: 7}}",
			want(func(s *upstream.Settings) {
				s.Pool = upstream.Pool{
					MaxConnections: 100, MaxConnectionsPerEndpoint: 10, PendingTimeout: time.Second, MaxRequests: 50,
					MaxRequestsPerConnection: 1000, MaxIdlePerEndpoint: 5, MaxAge: 10 * time.Minute,
					HTTP2: upstream.PoolHTTP2{Connections: 3, Streams: 7},
				}
			}),
		},
		"outlier": {"outlier: {consecutive5xx: 7, successRate: {stdevFactor: 1.9}, returnOnHealthy: true}", want(func(s *upstream.Settings) {
			s.Outlier.Consecutive5xx, s.Outlier.SuccessRate.StdevFactor, s.Outlier.ReturnOnHealthy = 7, 1.9, true
		})},
		"no outlier": {"outlier: {off: true}", want(func(s *upstream.Settings) { s.Outlier.Off = true })},
		"http": {"health: {http: /healthz, interval: 1s}", want(health(func(h *upstream.Health) {
			h.HTTP = &upstream.HTTPCheck{Path: "/healthz", Method: "GET", Statuses: []upstream.StatusRange{{From: 200, To: 399}}}
			h.Interval = time.Second
		}))},
		"http in full": {"health: {http: {path: /x, host: a.test, method: HEAD, statuses: [204, 3xx, 400-404]}}", want(health(func(h *upstream.Health) {
			h.HTTP = &upstream.HTTPCheck{
				Path: "/x", Host: "a.test", Method: "HEAD",
				Statuses: []upstream.StatusRange{{From: 204, To: 204}, {From: 300, To: 399}, {From: 400, To: 404}},
			}
		}))},
		"one of the two": {"pool: {http2: {streams: 1}}", want(func(s *upstream.Settings) { s.Pool.HTTP2.Streams = 1 })},
		"http by its version": {"health: {http: {path: /x, protocol: http2}}", want(health(func(h *upstream.Health) {
			h.HTTP = &upstream.HTTPCheck{
				Protocol: "http2", Path: "/x", Method: "GET", Statuses: []upstream.StatusRange{{From: 200, To: 399}},
			}
		}))},
		"tcp":  {"health: {tcp: {}}", want(health(func(h *upstream.Health) { h.TCP = &upstream.TCPCheck{} }))},
		"grpc": {"health: {grpc: {service: users}}", want(health(func(h *upstream.Health) { h.GRPC = &upstream.GRPCCheck{Service: "users"} }))},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, settings(t, tt.text)); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
		})
	}
}

// What the guides show is valid, and what they call the defaults are the
// defaults.
func TestTheGuidesUpstreams(t *testing.T) {
	defaults, health := upstream.DefaultSettings(), upstream.DefaultHealth()
	health.HTTP = &upstream.HTTPCheck{Path: "/healthz", Method: "GET", Statuses: []upstream.StatusRange{{From: 200, To: 399}}}
	for _, file := range []string{"../../../docs/guides/upstreams.md", "../../../docs/guides/upstreams.zh-CN.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		blocks := strings.Split(string(text), "```yaml\n")[1:]
		if len(blocks) != 5 {
			t.Errorf("%s has %d blocks of configuration", file, len(blocks))
		}
		for i, b := range blocks {
			b, _, _ = strings.Cut(b, "```")
			n, err := conf.Parse(file, []byte(b))
			if err != nil {
				t.Fatal(err)
			}
			c, err := config.Decode(n, config.Default())
			if err != nil {
				t.Errorf("%s, block %d: %v", file, i+1, err)
				continue
			}
			for name, u := range c.Upstreams {
				want := defaults
				switch name {
				case "legacy":
					want.Health = &health
				case "users":
				default:
					continue
				}
				if diff := cmp.Diff(want, u.Settings); diff != "" {
					t.Errorf("%s, %s: the defaults are others (-code +guide):\n%s", file, name, diff)
				}
			}
		}
	}
}
