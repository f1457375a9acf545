// Package config is the schema of sidecar.yaml: its keys, their defaults and
// what is wrong with a file. Everything that can be known to be wrong before
// the sidecar starts is found here, all of it at once and with its place;
// nothing of the package listens, connects or waits.
package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/internal/run"
	"github.com/outrigger-mesh/outrigger/registry"
)

// DefaultFile is read where no file is named, if it exists.
const DefaultFile = "sidecar.yaml"

// Off as an address of listen switches a listener off that is on by default.
const Off = "off"

// Config is the content of sidecar.yaml. After Load it is complete: every key
// that the file leaves out has its default.
type Config struct {
	// File is where the configuration was read from; empty for the defaults
	// alone. Relative paths in it are relative to its folder (see Path).
	File string `yaml:"-"`

	App        *App // nil on a gateway
	Node       Node
	Listen     Listen
	Gateway    Gateway
	Discovery  Discovery
	Outbound   Outbound
	TLS        TLS                 `yaml:"tls"`
	Upstreams  map[string]Upstream // by the name as it is written; see UpstreamKey
	Middleware conf.Node           // the path of a file, or its content inline; absent: none
	Limits     Limits
	Log        Log
	Drain      Drain
	Upgrade    Upgrade
}

// Node is who this sidecar is and where.
type Node struct {
	ID        string // stable over restarts, unique in its network
	Namespace string
	Network   string
	Host      string // name or asset id of the machine, as the CMDB knows it
	Region    string
	Zone      string

	DefaultID bool `yaml:"-"` // the file gives no id: it is made of other keys
}

// Locality is the node's region and zone.
func (n Node) Locality() registry.Locality {
	return registry.Locality{Region: n.Region, Zone: n.Zone}
}

// Listen is the addresses that the sidecar listens on, host:port. After Load
// an empty one is off; port 0 lets the system choose.
type Listen struct {
	Inbound  string // for the mesh, before the app; off without an app
	Outbound string // for the app, before the mesh
	Admin    string
	Gateway  string // for the world; off by default
	Metrics  string // metrics alone, where the admin address is not reachable; off by default
}

// Gateway says which gateway listen.gateway is.
type Gateway struct {
	Name string // namespace/name of the Gateway object
	Port uint16 // of the Gateway object's listener, which is not what is listened on
}

// Discovery is where routes and endpoints come from, and where the app is
// registered.
type Discovery struct {
	XDS      *XDS // nil: static upstreams alone
	Registry Registry
}

// XDS is the control plane.
type XDS struct {
	Server    string // host:port
	TokenFile string
	CAFile    string // empty: the system's roots, for a server on another machine
	// Plaintext speaks without TLS to a server on another machine. One on
	// loopback is spoken to without TLS unless CAFile is set.
	Plaintext bool
}

// SetDefaults is the control plane of the same machine.
func (x *XDS) SetDefaults() { x.Server = "127.0.0.1:18000" }

// Registry is what the app is registered with.
type Registry struct {
	Kind      string        // after Load empty where nothing is registered
	TTL       time.Duration `yaml:"ttl"` // how long a registration outlives a broken connection
	Endpoints conf.Node     // of the kinds that are servers of their own
}

// RegistryMesh is the kind of registry that is the control plane itself.
const RegistryMesh = "mesh"

// Unknown is what is done with requests to hosts that are no service.
type Unknown string

// The values of outbound.unknown.
const (
	UnknownRefuse      Unknown = "refuse"
	UnknownPassthrough Unknown = "passthrough"
)

// Outbound is how the app's requests are treated.
type Outbound struct{ Unknown Unknown }

// Log is how the sidecar logs.
type Log struct {
	Level  string // debug, info, warn or error
	Format run.LogFormat
}

// Default is the configuration that an empty file stands for.
func Default() *Config {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost" // only to name this node; whoever needs more sets it
	}
	return defaults(host)
}

func defaults(host string) *Config {
	return &Config{
		Node: Node{Namespace: registry.DefaultNamespace, Network: registry.DefaultNetwork, Host: host},
		Listen: Listen{
			Inbound:  "127.0.0.1:15006",
			Outbound: "127.0.0.1:15001",
			Admin:    "127.0.0.1:15000",
			Gateway:  Off,
			Metrics:  Off,
		},
		Gateway:   Gateway{Port: registry.DefaultPort},
		Discovery: Discovery{Registry: Registry{TTL: 15 * time.Second}},
		Outbound:  Outbound{Unknown: UnknownRefuse},
		Log:       Log{Level: "info", Format: run.LogAuto},
		Limits:    defaultLimits(),
		Drain:     Drain{Delay: time.Second, Timeout: 30 * time.Second, App: 5 * time.Second},
		Upgrade:   Upgrade{Timeout: time.Minute},
	}
}

// Load reads and validates a configuration. The empty path is DefaultFile if
// that exists, else the defaults alone. Mistakes in the file are conf.Errors;
// beside them stands what could be read, so that the mistakes of the files that
// it names can be found too.
func Load(path string) (*Config, error) {
	if path == "" {
		if _, err := os.Stat(DefaultFile); errors.Is(err, fs.ErrNotExist) {
			return Decode(conf.Node{}, Default())
		}
		path = DefaultFile
	}
	n, err := conf.Load(path)
	if err != nil {
		return nil, err
	}
	c := Default()
	c.File = path
	return Decode(n, c)
}

// Decode lays a document over c, which holds the defaults, validates the
// result and, where nothing is wrong, completes it.
func Decode(n conf.Node, c *Config) (*Config, error) {
	if err := n.Decode(c); err != nil {
		return c, err
	}
	c.complete()
	return c, nil
}

// complete fills in the defaults that depend on other keys.
func (c *Config) complete() {
	for _, l := range c.listeners() {
		if *l.address == Off {
			*l.address = ""
		}
	}
	if c.App == nil {
		c.Listen.Inbound = ""
	} else {
		c.App.complete(c.Listen.Inbound)
	}
	c.Discovery.Registry.Kind = c.registryKind()
	if c.Gateway.Name == "" && c.Listen.Gateway != "" {
		c.Gateway.Name = c.Node.Namespace + "/gateway"
	}
	if c.Node.ID == "" {
		c.Node.ID, c.Node.DefaultID = c.defaultID(), true
	}
}

// registryKind is mesh where there is a control plane and an app to register.
func (c *Config) registryKind() string {
	if k := c.Discovery.Registry.Kind; k != "" || c.Discovery.XDS == nil || c.App == nil {
		return k
	}
	return RegistryMesh
}

// defaultID is the same over restarts, and differs between the sidecars of one
// machine: two of one app cannot have the same inbound port.
func (c *Config) defaultID() string {
	id, address := c.Node.Host, c.Listen.Gateway
	switch {
	case c.App != nil:
		id, address = id+"-"+c.App.Name, c.Listen.Inbound
	case address != "":
		id += "-" + strings.ReplaceAll(c.Gateway.Name, "/", "-")
	default:
		address = c.Listen.Outbound
	}
	_, port, err := net.SplitHostPort(address)
	if err == nil && port != "0" && port != "15006" {
		id += "-" + port
	}
	return id
}

// Path is a path of the file made absolute or relative to the working
// directory: those in the file are relative to the file's folder.
func (c *Config) Path(p string) string {
	if p == "" || filepath.IsAbs(p) || c.File == "" {
		return p
	}
	return filepath.Join(filepath.Dir(c.File), p)
}

// MiddlewareFile is the path of the file that middleware names, ready to be
// opened; ok is false where it is inline or absent.
func (c *Config) MiddlewareFile() (path string, ok bool) {
	if c.Middleware.Kind() != conf.String {
		return "", false
	}
	return c.Path(c.Middleware.Text()), true
}

// GatewayListener is the name of the gateway's listener over xDS:
// gateway/namespace/name/port.
func (c *Config) GatewayListener() string {
	return "gateway/" + c.Gateway.Name + "/" + strconv.Itoa(int(c.Gateway.Port))
}

// Warnings say what is allowed and surely not meant.
func (c *Config) Warnings() []string {
	var warnings []string
	if c.App == nil && c.Listen.Gateway == "" && c.Discovery.XDS == nil && len(c.Upstreams) == 0 {
		where := c.File
		if where == "" {
			where = "no " + DefaultFile + " here, and none given"
		}
		warnings = append(warnings, fmt.Sprintf(
			"%s: there is nothing to do: no app, no listen.gateway, no upstreams and no discovery.xds", where))
	}
	return append(warnings, c.warningsTLS()...)
}

// MarshalJSON is the configuration with the keys of the file, for people.
func (c *Config) MarshalJSON() ([]byte, error) { return json.Marshal(conf.Plain(*c)) }
