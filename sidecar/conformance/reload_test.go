package conformance

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/outrigger-mesh/outrigger/internal/ads/adstest"
)

// reloadFor is how long everything changes.
const reloadFor = 4 * time.Second

// chains are contents of the middleware file, each of which serves every
// request.
var chains = []string{
	"outbound: []\n",
	"outbound: [requestid, metrics, timeout, retry]\n",
	"outbound: [metrics, {ratelimit: {rate: 1000000/s, burst: 1000000}}, requestid, tracing]\n",
	"outbound: [requestid, {breaker: {errorPercent: 90}}, {timeout: {request: 30s}}]\nservices: {app: {outbound: [{retry: {attempts: 3}}]}}\n",
	"outbound: [tracing]\nservices: {fixed: {outbound: [metrics, {timeout: {request: 1m}}]}}\n",
}

// TestReloadUnderLoadFailsNothing changes the middleware file, the routes and
// the endpoints ten times a second, while clients send requests of all sorts.
// None fails, and an upgraded connection stays as it is.
func TestReloadUnderLoadFailsNothing(t *testing.T) {
	var begun atomic.Int64
	one, two := livingApp(t, &begun), livingApp(t, &begun)
	server := adstest.Start(t)
	routes := func(version int) {
		server.Edit(func(e adstest.Editor) { setRoutes(t, e, version, []string{one, two}) })
	}
	routes(0)
	dir := t.TempDir()
	save := func(content string) {
		temp := filepath.Join(dir, "new")
		if err := os.WriteFile(temp, []byte(content), 0o600); err != nil {
			t.Error(err)
		}
		if err := os.Rename(temp, filepath.Join(dir, "middleware.yaml")); err != nil {
			t.Error(err)
		}
	}
	save(chains[0])
	s := startSidecarIn(t, dir, fmt.Sprintf(`
listen: {outbound: "127.0.0.1:0", admin: "127.0.0.1:0"}
upstreams: {fixed: {endpoints: [%q]}}
discovery: {xds: {server: %q}}
drain: {delay: 1ms, timeout: 5s}
middleware: middleware.yaml
`, one, server.Addr()))
	address := s.at["listen.outbound"]

	sockets := map[string]*client{}
	for _, service := range []string{"app", "fixed"} {
		c := dial(t, address)
		_ = c.SetDeadline(time.Now().Add(2 * patience))
		c.send("GET /upgrade HTTP/1.1\r\nHost: " + service + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		c.upgraded(t)
		sockets[service] = c
	}

	ctx, cancel := context.WithTimeout(t.Context(), reloadFor)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for i := 1; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			save(fmt.Sprintf("%s# %d\n", chains[i%len(chains)], i))
			routes(i)
		}
	})
	for service, c := range sockets {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				message := fmt.Sprintf("message %d", i)
				c.send(message)
				got := make([]byte, len(message))
				if _, err := io.ReadFull(c.r, got); err != nil || string(got) != message {
					t.Errorf("upgraded connection to %s: got %q, %v", service, got, err)
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
	var answered atomic.Int64
	for _, service := range []string{"app", "fixed"} {
		for _, send := range []func(*client, string) error{sendGet, sendPost, sendChunked, sendHead, sendPipelined, sendStream} {
			for range 2 {
				wg.Go(func() {
					c := dial(t, address)
					for ctx.Err() == nil {
						_ = c.SetDeadline(time.Now().Add(patience))
						if err := send(c, service); err != nil {
							t.Errorf("request to %s: %v", service, err)
							return
						}
						answered.Add(1)
					}
				})
			}
		}
	}
	wg.Wait()
	page := metricsPage(t, s.at["listen.admin"])
	reloads := metric(page, `outrigger_middleware_reloads_total{result="ok"}`)
	if reloads < 5 || metric(page, "outrigger_middleware_file_bad") != 0 || len(server.Nacks()) > 0 {
		t.Errorf("%d reloads, file bad %d, refused by the sidecar: %v", reloads, metric(page, "outrigger_middleware_file_bad"), server.Nacks())
	}
	t.Logf("%d requests, %d reloads of the file", answered.Load(), reloads)
}

// setRoutes makes the service app have other routes and other endpoints with
// each version: the first app, the second, or both.
func setRoutes(t *testing.T, e adstest.Editor, version int, apps []string) {
	t.Helper()
	const name, spare = "app.default:80", "spare.default:80"
	v := fmt.Sprint(version)
	for i, cluster := range []string{name, spare} {
		e.Set(cluster, "1", &clusterv3.Cluster{
			Name:                 cluster,
			ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
			EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: adsSource()},
		})
		a := assignment(t, cluster, apps[(version+i)%2])
		if version%3 == 0 {
			a.Endpoints[0].LbEndpoints = append(a.Endpoints[0].LbEndpoints, assignment(t, cluster, apps[(version+i+1)%2]).Endpoints[0].LbEndpoints...)
		}
		e.Set(cluster, v, a)
	}
	to := func(prefix, cluster string) *routev3.Route {
		return &routev3.Route{
			Name:   prefix + v,
			Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: prefix}},
			Action: &routev3.Route_Route{Route: &routev3.RouteAction{ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster}}},
		}
	}
	list := []*routev3.Route{to("/", name)}
	if version%2 == 1 {
		list = []*routev3.Route{to("/quick", spare), to("/", name)}
	}
	e.Set(name, v, &listenerv3.Listener{Name: name, ApiListener: &listenerv3.ApiListener{ApiListener: pack(t, &hcmv3.HttpConnectionManager{
		StatPrefix:  "app",
		HttpFilters: []*hcmv3.HttpFilter{{Name: "router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(t, &routerv3.Router{})}}},
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
			Name: name, VirtualHosts: []*routev3.VirtualHost{{Name: "all", Domains: []string{"*"}, Routes: list}},
		}},
	})}})
}

func want(c *client, method, want string) error {
	if got := c.next(method); got != want {
		return fmt.Errorf("got %.100q, want %.100q", got, want)
	}
	return nil
}

func sendGet(c *client, service string) error {
	c.send("GET /quick HTTP/1.1\r\nHost: " + service + "\r\n\r\n")
	return want(c, "GET", "200 quick")
}

func sendHead(c *client, service string) error {
	c.send("HEAD /quick HTTP/1.1\r\nHost: " + service + "\r\n\r\n")
	return want(c, "HEAD", "200")
}

func sendPost(c *client, service string) error {
	c.send("POST /upload HTTP/1.1\r\nHost: " + service + "\r\nContent-Length: 50000\r\n\r\n" + strings.Repeat("x", 50_000))
	return want(c, "POST", "200 50000 bytes <nil>")
}

func sendChunked(c *client, service string) error {
	c.send("POST /upload HTTP/1.1\r\nHost: " + service + "\r\nTransfer-Encoding: chunked\r\n\r\n")
	for range 5 {
		c.send("5\r\npiece\r\n")
		time.Sleep(10 * time.Millisecond)
	}
	c.send("0\r\n\r\n")
	return want(c, "POST", "200 25 bytes <nil>")
}

func sendPipelined(c *client, service string) error {
	c.send(strings.Repeat("GET /quick HTTP/1.1\r\nHost: "+service+"\r\n\r\n", 5))
	for range 5 {
		if err := want(c, "GET", "200 quick"); err != nil {
			return err
		}
	}
	return nil
}

func sendStream(c *client, service string) error {
	c.send("GET /stream HTTP/1.1\r\nHost: " + service + "\r\n\r\n")
	var all strings.Builder
	for i := range pieces {
		_, _ = fmt.Fprintf(&all, "piece %d\n", i)
	}
	return want(c, "GET", "200 "+all.String())
}

// metricsPage is what the admin port says of the metrics.
func metricsPage(t *testing.T, address string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("/metrics: %d %v", resp.StatusCode, err)
	}
	return string(body)
}
