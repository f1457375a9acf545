package middleware

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// Shared is e for a State that all entries of a kind share, whatever their
// direction, service and id: its collectors, or a file that several of them
// write to.
func (e Env) Shared(kind string) Env {
	e.Direction, e.Service, e.ID = "", "", kind
	return e
}

// Register registers the collector, or returns the equal one that is there: a
// kind that is built twice outside of a Generation finds its first. Unregister
// takes away what was registered here. A nil Registerer registers nothing.
func Register[C prometheus.Collector](r prometheus.Registerer, c C) (registered C, unregister func(), err error) {
	if r == nil {
		return c, func() {}, nil
	}
	err = r.Register(c)
	var there prometheus.AlreadyRegisteredError
	switch {
	case err == nil:
		return c, func() { r.Unregister(c) }, nil
	case errors.As(err, &there):
		if same, ok := there.ExistingCollector.(C); ok {
			return same, func() {}, nil
		}
		return c, nil, fmt.Errorf("register metric: the name is taken by a %T", there.ExistingCollector)
	}
	return c, nil, fmt.Errorf("register metric: %w", err)
}
