package config

import (
	"reflect"

	"github.com/outrigger-mesh/outrigger/internal/conf"
)

// fixed are the keys that a process keeps for its life: who the sidecar is,
// whom it speaks to, and what its parts are built with.
var fixed = []struct {
	key string
	of  func(*Config) any
}{
	{"app.name", func(c *Config) any {
		if c.App == nil {
			return ""
		}
		return c.App.Name
	}},
	{"node.id", func(c *Config) any { return c.Node.ID }},
	{"node.namespace", func(c *Config) any { return c.Node.Namespace }},
	{"node.network", func(c *Config) any { return c.Node.Network }},
	{"node.host", func(c *Config) any { return c.Node.Host }},
	{"node.region", func(c *Config) any { return c.Node.Region }},
	{"node.zone", func(c *Config) any { return c.Node.Zone }},
	{"discovery.xds", func(c *Config) any { return c.Discovery.XDS }},
	{"discovery.registry", func(c *Config) any { return c.Discovery.Registry }},
	{"limits", func(c *Config) any { return c.Limits }},
	{"log.format", func(c *Config) any { return c.Log.Format }},
	{"upgrade.socket", func(c *Config) any { return c.Upgrade.Socket }},
}

// NeedRestart are the keys in which next differs from c, the configuration in
// force, and that a running process cannot change.
func (c *Config) NeedRestart(next *Config) []string {
	var keys []string
	differ := func(key string, of func(*Config) any) {
		if !reflect.DeepEqual(conf.Plain(of(c)), conf.Plain(of(next))) {
			keys = append(keys, key)
		}
	}
	for _, f := range fixed {
		differ(f.key, f.of)
	}
	if c.Listen.Gateway != "" && next.Listen.Gateway != "" {
		differ("gateway", func(c *Config) any { return c.Gateway })
	}
	return keys
}

// identity are the keys by which the mesh knows this sidecar.
var identity = map[string]bool{"app.name": true, "node.id": true, "node.namespace": true, "node.network": true}

// Identity are the values by which the mesh knows this sidecar, by their keys.
// A process that takes another one's place must have the same.
func (c *Config) Identity() map[string]string {
	values := map[string]string{}
	for _, f := range fixed {
		if identity[f.key] {
			values[f.key], _ = f.of(c).(string)
		}
	}
	return values
}

// KeepID takes over the id of the configuration in force where the file gives
// none: the default depends on addresses, and those may change while a process
// lives, its id not.
func (c *Config) KeepID(id string) {
	if c.Node.DefaultID {
		c.Node.ID = id
	}
}
