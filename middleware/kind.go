package middleware

import (
	"errors"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/outrigger-mesh/outrigger/internal/conf"
)

// The directions that chains are built for.
const (
	Inbound  = "inbound"  // to the app beside this sidecar
	Outbound = "outbound" // from it
	Gateway  = "gateway"  // from outside the mesh
)

// Env is what a kind's build gets beside its configuration.
type Env struct {
	Direction string // Inbound, Outbound or Gateway
	Service   string // the service whose chain is built; empty for the direction's own
	ID        string // the entry's id in its list: the kind's name if it has none of its own
	Logger    *slog.Logger
	Metrics   prometheus.Registerer

	generation *Generation
}

// In returns e for the generation: what State then keeps.
func (e Env) In(g *Generation) Env {
	e.generation = g
	return e
}

// Kind is one kind of middleware: its name in configuration files, and how its
// parts are made of its configuration. NewKind makes one.
type Kind struct {
	Name   string
	decode func(conf.Node) (builder, error)
}

type builder func(Env) (Parts, error)

// NewKind makes a kind. defaults gives a configuration with every default set;
// the file's values are decoded strictly over it, then a Validate() error
// method of C is called, which says by FieldError what is wrong and where. The
// keys id, off, before and after are not C's: they are every entry's own.
// build makes the parts; it starts nothing.
func NewKind[C any](name string, defaults func() C, build func(C, Env) (Parts, error)) Kind {
	return Kind{
		Name: name,
		decode: func(n conf.Node) (builder, error) {
			c := defaults()
			if err := n.Decode(&c); err != nil {
				return nil, err
			}
			return func(e Env) (Parts, error) { return build(c, e) }, nil
		},
	}
}

// FieldError says that the field at path (such as "key.header" or "routes[1]")
// of the validated configuration is wrong. The position in the file is added
// where the configuration is decoded.
func FieldError(path, msg string) error { return conf.FieldError(path, msg) }

// errNoParts is a defect of a kind.
var errNoParts = errors.New("middleware kind built no parts")
