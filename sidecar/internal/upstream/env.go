package upstream

import (
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/outrigger-mesh/outrigger/internal/balance"
)

// Options is what clusters have from the program around them. The zero value
// does.
type Options struct {
	Logger *slog.Logger // nil: nothing is logged
	// Registerer is where the metrics of all clusters are registered; nil:
	// nowhere.
	Registerer prometheus.Registerer
	// Balance is what balancers are made with; Service is set for each cluster.
	Balance balance.Options
}

// maxChecks bounds the health checks that run at a time, of all clusters.
const maxChecks = 64

// env is Options with what the clusters of a set share.
type env struct {
	Options
	checks chan struct{} // has a value for each health check that runs
}

func newEnv(o Options) *env {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &env{Options: o, checks: make(chan struct{}, maxChecks)}
}

func (e *env) logger() *slog.Logger { return e.Logger }
