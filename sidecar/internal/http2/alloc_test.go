package http2

import (
	"testing"
)

// TestAllocUnary keeps what a request costs in memory: the function of the
// goroutine that this test serves it with.
func TestAllocUnary(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	got := testing.Benchmark(func(b *testing.B) { unary(b, 1) }).AllocsPerOp()
	if got > 1 {
		t.Errorf("%d allocations for a request and its response, of both sides together", got)
	}
}
