package ratelimit

import "time"

// limit is a rate in the terms of the buckets: each request costs the time in
// which the bucket is refilled for one, and a bucket holds the time of burst
// requests.
//
// A bucket is one number: the moment at which it will be full again. An empty
// one is full after `full`, a full one has been since some time ago. (That is
// the generic cell rate algorithm, the token bucket turned inside out: it needs
// no refilling, and one number can be changed at once.) Moments are nanoseconds
// since the state was made.
type limit struct {
	burst int64 // requests
	cost  int64 // of one request, in nanoseconds; at least 1, to the nearest
	full  int64 // nanoseconds that an empty bucket takes
	seq   uint64
}

func newLimit(r Rate, burst int64) *limit {
	l := &limit{burst: burst, cost: r.cost()}
	l.full = burst * l.cost
	return l
}

// take is a bucket after one request at now; ok says whether it had room for
// it, and wait how long it would take to.
func (l *limit) take(fullAt, now int64) (after int64, ok bool, wait time.Duration) {
	after = max(fullAt, now) + l.cost
	if over := after - now - l.full; over > 0 {
		return fullAt, false, time.Duration(over)
	}
	return after, true, 0
}

// left is how many requests a bucket has room for.
func (l *limit) left(fullAt, now int64) int64 {
	room := l.full - max(0, fullAt-now)
	return max(0, min(l.burst, room/l.cost))
}

// convert is a bucket of l, as one of another limit with as much taken from it.
func (l *limit) convert(fullAt, now int64, to *limit) int64 {
	used := fullAt - now
	if used <= 0 {
		return fullAt
	}
	return now + min(int64(float64(used)*float64(to.cost)/float64(l.cost)), to.full)
}
