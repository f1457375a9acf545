package ratelimit

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

// buckets is the state of one entry, which outlives reloads: what was taken
// stays taken when rate or burst change.
type buckets struct {
	start time.Time
	limit atomic.Pointer[limit] // the one in force: that of the newest generation that serves
	built atomic.Uint64         // counts generations

	one    atomic.Int64 // the bucket, where all requests share one
	seed   maphash.Seed
	shards []shard // otherwise
}

// shard is a part of the buckets. Its lock is held for some nanoseconds.
type shard struct {
	mu      sync.Mutex
	index   map[uint64]int32 // hash of the key -> place in entries
	entries []entry
	most    int
	hand    int // where the search for one to evict goes on
	_       [32]byte
}

type entry struct {
	hash   uint64
	fullAt int64
}

const (
	mostShards = 32
	keysAShard = 64 // at least, so that keys spread evenly enough
	evictAmong = 8
)

func newBuckets(k Key, maxKeys int) *buckets {
	b := &buckets{start: time.Now(), seed: maphash.MakeSeed()}
	if k.By == ByNone {
		return b
	}
	n := 1
	for n < mostShards && maxKeys/(2*n) >= keysAShard {
		n *= 2
	}
	b.shards = make([]shard, n)
	for i := range b.shards {
		b.shards[i].index = map[uint64]int32{}
		b.shards[i].most = maxKeys / n
	}
	return b
}

// Close has nothing to end: the buckets are only memory.
func (b *buckets) Close() error { return nil }

func (b *buckets) now() int64 { return int64(time.Since(b.start)) }

// next gives a limit its place in the order of generations.
func (b *buckets) next(l *limit) *limit {
	l.seq = b.built.Add(1)
	return l
}

// use is the limit in force for a request of the generation that l was built
// in. The first request of a newer generation converts all buckets: not the
// build, since what is built may still be refused as a whole.
//
// A request that is counted while another goroutine converts may be counted in
// the former limit's terms: an error of one request for each that is under way
// at that moment.
func (b *buckets) use(l *limit) *limit {
	for {
		current := b.limit.Load()
		if current == l || current != nil && current.seq > l.seq {
			return current
		}
		if !b.limit.CompareAndSwap(current, l) {
			continue
		}
		if current != nil && current.cost != l.cost {
			b.convert(current, l)
		}
		return l
	}
}

func (b *buckets) convert(from, to *limit) {
	now := b.now()
	for {
		old := b.one.Load()
		if b.one.CompareAndSwap(old, from.convert(old, now, to)) {
			break
		}
	}
	for i := range b.shards {
		s := &b.shards[i]
		s.mu.Lock()
		for j := range s.entries {
			s.entries[j].fullAt = from.convert(s.entries[j].fullAt, now, to)
		}
		s.mu.Unlock()
	}
}

// taken is what came of a request.
type taken struct {
	ok      bool
	wait    time.Duration // until there is room, where there is none
	left    int64         // requests
	refill  time.Duration // until the bucket is full
	evicted bool          // another key's bucket was given up that was not full
}

// take takes one request out of the bucket that all share.
func (b *buckets) take(l *limit) taken {
	now := b.now()
	for {
		fullAt := b.one.Load()
		after, ok, wait := l.take(fullAt, now)
		if !ok || b.one.CompareAndSwap(fullAt, after) {
			return taken{ok: ok, wait: wait, left: l.left(after, now), refill: time.Duration(max(0, after-now))}
		}
	}
}

// takeOf takes one request out of the key's bucket.
func (b *buckets) takeOf(l *limit, hash uint64) taken {
	now := b.now()
	s := &b.shards[hash>>32%uint64(len(b.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	e, evicted := s.entry(hash, now)
	after, ok, wait := l.take(e.fullAt, now)
	e.fullAt = after
	return taken{ok: ok, wait: wait, left: l.left(after, now), refill: time.Duration(max(0, after-now)), evicted: evicted}
}

// entry is the key's bucket. When there is no room for a new one, it takes the
// place of the fullest among some: a full bucket is as good as none, and the
// buckets of those who ask most stay longest.
func (s *shard) entry(hash uint64, now int64) (e *entry, evicted bool) {
	if i, ok := s.index[hash]; ok {
		return &s.entries[i], false
	}
	if len(s.entries) < s.most {
		s.index[hash] = int32(len(s.entries)) //nolint:gosec // at most mostKeys
		s.entries = append(s.entries, entry{hash: hash})
		return &s.entries[len(s.entries)-1], false
	}
	victim := s.hand
	for range min(evictAmong, len(s.entries)) {
		if s.entries[s.hand].fullAt < s.entries[victim].fullAt {
			victim = s.hand
		}
		s.hand = (s.hand + 1) % len(s.entries)
	}
	e = &s.entries[victim]
	evicted = e.fullAt > now
	delete(s.index, e.hash)
	s.index[hash] = int32(victim) //nolint:gosec // at most mostKeys
	*e = entry{hash: hash}
	return e, evicted
}
