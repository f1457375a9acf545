package run

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Times of KeepSmall.
const (
	startOver   = time.Second     // after it, what was needed to start is given back
	memoryEvery = 5 * time.Second // between two looks
	spareMemory = 4 << 20         // bytes that may lie unused
)

// KeepSmall gives memory back to the system that the program does not use: once
// what it needed to start, and later what a burst has left behind. The runtime
// does the latter too, but keeps as much as the heap has ever been allowed to
// grow to, which for a program that is mostly quiet is most of what it has. It
// returns when ctx ends.
func KeepSmall(ctx context.Context) error {
	start := time.NewTimer(startOver)
	defer start.Stop()
	tick := time.NewTicker(memoryEvery)
	defer tick.Stop()
	before := false
	for {
		select {
		case <-start.C:
			debug.FreeOSMemory()
			TrimResident()
		case <-tick.C:
			// Twice in a row: between two bursts it is kept.
			much := spare() > spareMemory
			if much && before {
				debug.FreeOSMemory()
				much = false
			}
			before = much
		case <-ctx.Done():
			return nil
		}
	}
}

// spare is how many bytes of the heap hold nothing, and are not the system's
// again.
func spare() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/free:bytes"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindUint64 {
		return 0
	}
	return s[0].Value.Uint64()
}
