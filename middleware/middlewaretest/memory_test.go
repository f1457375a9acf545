package middlewaretest_test

import (
	"testing"

	"github.com/outrigger-mesh/outrigger/middleware/middlewaretest"
)

func TestMemoryEngineKeepsTheContract(t *testing.T) {
	middlewaretest.Run(t, middlewaretest.Memory{})
}
