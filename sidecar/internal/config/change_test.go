package config_test

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/sidecar/internal/config"
)

func TestTCPPortsHaveTheirOwnNumberAndLimits(t *testing.T) {
	c := load(t, "testdata/good/redis.yaml")
	if got := []uint16{c.App.ServicePort(0), c.App.ServicePort(1)}; got[0] != 6379 || got[1] != 9121 {
		t.Errorf("service ports %v, want 6379 and 9121", got)
	}
	if check := c.App.HealthCheck(); check.URL != "" || check.Address != "127.0.0.1:6379" {
		t.Errorf("checked by %q at %q, want a connection to the first port", check.URL, check.Address)
	}
	want := config.TCPLimits{Connections: 50, ConnectTimeout: 2 * time.Second, IdleTimeout: 10 * time.Minute}
	if c.Limits.TCP != want || c.Limits.Connections != 100 || c.Limits.HeadTimeout != 10*time.Second {
		t.Errorf("limits are %+v", c.Limits)
	}
	if c.Drain.App != 0 || c.Drain.Delay != time.Second {
		t.Errorf("drain is %+v", c.Drain)
	}
	if got, want := c.UpgradeSocket(), filepath.Join("testdata", "good", "run", "upgrade.sock"); got != want {
		t.Errorf("upgrade socket %q, want %q", got, want)
	}
}

func TestNeedRestartNamesTheKeysThatAProcessKeeps(t *testing.T) {
	const base = "app: {name: orders}\nnode: {id: a}\ndiscovery: {xds: {}}\n"
	const gateway = "listen: {gateway: \"127.0.0.1:8000\"}\nnode: {id: a}\n"
	for _, tt := range []struct {
		name, old, next string
		want            []string
	}{
		{"nothing", base, base, nil},
		{"what may change", base, base + "log: {level: debug}\noutbound: {unknown: passthrough}\ndrain: {delay: 3s}\n" +
			"listen: {inbound: 127.0.0.1:15116, metrics: 127.0.0.1:15020, gateway: 127.0.0.1:8000}\n" +
			"upstreams: {a: {endpoints: [127.0.0.1:1]}}\n", nil},
		{"who it is", base, "app: {name: users}\nnode: {id: b, namespace: shop, network: dc2, zone: z}\ndiscovery: {xds: {}}\n", []string{
			"app.name", "node.id", "node.namespace", "node.network", "node.zone",
		}},
		{"whom it speaks to", base, "app: {name: orders}\nnode: {id: a}\ndiscovery: {xds: {server: \"127.0.0.1:1\"}, registry: {ttl: 20s}}\n", []string{
			"discovery.xds", "discovery.registry",
		}},
		{"no control plane any more", base, "app: {name: orders}\nnode: {id: a}\n", []string{"discovery.xds", "discovery.registry"}},
		{"what its parts are built with", base, base + "limits: {connections: 5}\nlog: {format: text}\nupgrade: {socket: s}\n", []string{
			"limits", "log.format", "upgrade.socket",
		}},
		{"no app any more", base, "node: {id: a}\ndiscovery: {xds: {}}\n", []string{"app.name", "discovery.registry"}},
		{"another gateway", gateway, gateway + "gateway: {name: default/other}\n", []string{"gateway"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			old, next := load(t, write(t, tt.old)), load(t, write(t, tt.next))
			if got := old.NeedRestart(next); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestAnIDThatIsNotGivenStaysWhenAddressesChange(t *testing.T) {
	old := load(t, write(t, "app: {name: orders}\nlisten: {inbound: 127.0.0.1:15016}"))
	next := load(t, write(t, "app: {name: orders}\nlisten: {inbound: 127.0.0.1:15017}"))
	if keys := old.NeedRestart(next); !slices.Equal(keys, []string{"node.id"}) {
		t.Fatalf("the default id does not depend on the address any more: %q", keys)
	}
	next.KeepID(old.Node.ID)
	if keys := old.NeedRestart(next); len(keys) != 0 {
		t.Errorf("got %q", keys)
	}
	given := load(t, write(t, "app: {name: orders}\nnode: {id: x}"))
	given.KeepID(old.Node.ID)
	if given.Node.ID != "x" || given.Identity()["node.id"] != "x" || given.Identity()["app.name"] != "orders" {
		t.Errorf("an id that is given was changed: %v", given.Identity())
	}
}
