package breaker

import (
	"hash/maphash"
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

const (
	shards = 32 // a power of two
	// unusedFor is how long a circuit is remembered that nobody asks for, beyond
	// window and sleep window; shardMost bounds those of a shard whatever they
	// are used for.
	unusedFor = 5 * time.Minute
	shardMost = 2048
)

// circuits is the state of one entry, which outlives reloads: the circuits by
// the key of what they stand for. A lookup takes no lock. Those that nobody has
// asked for in a while are dropped when a new one comes, so that endpoints that
// come and go leave nothing behind.
type circuits struct {
	start  time.Time
	seed   maphash.Seed
	series byService
	shards [shards]circuitShard
}

type circuitShard struct {
	all atomic.Pointer[map[string]*circuit] // not changed, but replaced
	mu  sync.Mutex                          // held by who replaces it
	_   [40]byte
}

func newCircuits(newSeries func(service string) *series) *circuits {
	c := &circuits{start: time.Now(), seed: maphash.MakeSeed()}
	c.series.open, c.series.all = newSeries, map[string]*series{}
	for i := range c.shards {
		c.shards[i].all.Store(&map[string]*circuit{})
	}
	return c
}

func (c *circuits) now() int64 { return int64(time.Since(c.start)) }

// Close takes the circuits out of the gauges.
func (c *circuits) Close() error {
	for i := range c.shards {
		for _, one := range *c.shards[i].all.Load() {
			one.drop()
		}
	}
	return nil
}

// get is the circuit of the key, which belongs to the service.
func (c *circuits) get(s *settings, key, service string, now int64) *circuit {
	shard := &c.shards[maphash.String(c.seed, key)%shards]
	if one := (*shard.all.Load())[key]; one != nil {
		return one
	}
	shard.mu.Lock()
	defer shard.mu.Unlock()
	old := *shard.all.Load()
	if one := old[key]; one != nil {
		return one
	}
	all := maps.Clone(old)
	limit := now - int64(max(unusedFor, s.config.Window+s.config.SleepWindow))
	forget(all, limit)
	one := &circuit{series: c.series.get(service)}
	one.used.Store(now)
	all[key] = one
	shard.all.Store(&all)
	return one
}

// forget drops those that were not used since the limit, and one more where
// there are too many.
func forget(all map[string]*circuit, limit int64) {
	var oldest string
	for key, one := range all {
		if one.used.Load() < limit {
			one.drop()
			delete(all, key)
			continue
		}
		if oldest == "" || one.used.Load() < all[oldest].used.Load() {
			oldest = key
		}
	}
	if len(all) >= shardMost {
		all[oldest].drop()
		delete(all, oldest)
	}
}
