package run

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestMemoryThatIsNotUsedIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- KeepSmall(ctx) }()
		waste := make([][]byte, 64)
		for i := range waste {
			waste[i] = make([]byte, 1<<20)
			waste[i][0] = 1
		}
		clear(waste)
		time.Sleep(3 * memoryEvery)
		synctest.Wait()
		if left := spare(); left > 16<<20 {
			t.Errorf("%d MiB lie unused, of 64 that were thrown away", left>>20)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
