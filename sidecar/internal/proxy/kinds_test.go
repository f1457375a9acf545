package proxy

import (
	"testing"

	"github.com/outrigger-mesh/outrigger/middleware/builtin"
	"github.com/outrigger-mesh/outrigger/middleware/middlewaretest"
)

// configs are what a kind is run with here beside its defaults, where those do
// nothing or are refused.
var configs = map[string][]string{
	"ratelimit": {"{rate: 100000/s, burst: 100000}"},
	"tracing":   {"{sampler: {ratio: 1}}"},
	"timeout":   {"{request: 30s, perTry: 20s, idle: 20s}"},
}

func TestEveryBuiltInKindRunsOnTheHTTP1Engine(t *testing.T) {
	for _, k := range builtin.Kinds() {
		t.Run(k.Name, func(t *testing.T) { middlewaretest.RunKind(t, engine{"http1", client}, k, configs[k.Name]...) })
	}
}
