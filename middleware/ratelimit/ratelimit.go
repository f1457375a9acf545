// Package ratelimit is the middleware that limits how many requests pass in a
// time: a token bucket in this process, for all requests or one for each key.
//
// The one bucket is a single number that is changed without a lock. Buckets of
// keys are spread over shards, whose locks are held for some nanoseconds; their
// number is bounded. Nothing is allocated for a request that passes. The
// buckets outlive a reload as long as they mean the same: their direction,
// service, id and key. A changed rate or burst is in force with the first
// request after the reload, and what was taken stays taken.
package ratelimit

import (
	"hash/maphash"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/outrigger-mesh/outrigger/middleware"
)

// ReasonRateLimited is why a request was answered with 429.
const ReasonRateLimited middleware.Reason = "rate_limited"

// Kind is ratelimit in configuration files.
var Kind = middleware.NewKind("ratelimit", defaults, build)

func build(c Config, e middleware.Env) (middleware.Parts, error) {
	key, err := c.Key.MarshalText()
	if err != nil {
		return middleware.Parts{}, err
	}
	refused, err := middleware.Collector(e, "ratelimit", "refused", newRefused)
	if err != nil {
		return middleware.Parts{}, err
	}
	evicted, err := middleware.Collector(e, "ratelimit", "evicted", newEvicted)
	if err != nil {
		return middleware.Parts{}, err
	}
	labels := []string{e.Direction, e.Service, e.ID}
	state := middleware.State(e, "buckets/"+string(key)+"/"+strconv.Itoa(c.MaxKeys), func() *buckets {
		return newBuckets(c.Key, c.MaxKeys)
	})
	return middleware.Parts{Request: newRatelimit(c, e.ID, state, refused.WithLabelValues(labels...), evicted.WithLabelValues(labels...))}, nil
}

func newRefused() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "outrigger_ratelimit_refused_total",
		Help: "Requests that were answered with 429, since their bucket was empty.",
	}, []string{"direction", "service", "id"})
}

func newEvicted() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "outrigger_ratelimit_evicted_total",
		Help: "Buckets that were given up before they were full, since there were too many keys.",
	}, []string{"direction", "service", "id"})
}

// Ratelimit is the middleware.
type Ratelimit struct {
	key     Key
	headers Headers
	policy  string // the RateLimit-Policy field
	name    string // the policy's name, as it begins the RateLimit field
	limit   *limit
	buckets *buckets
	refused prometheus.Counter
	evicted prometheus.Counter
}

var _ middleware.Middleware = (*Ratelimit)(nil)

func newRatelimit(c Config, id string, b *buckets, refused, evicted prometheus.Counter) *Ratelimit {
	l := b.next(newLimit(c.Rate, c.burst()))
	name := quoted(id)
	return &Ratelimit{
		key:     c.Key,
		headers: c.Headers,
		name:    name,
		policy:  name + ";q=" + strconv.FormatInt(l.burst, 10) + ";w=" + strconv.FormatInt(seconds(time.Duration(l.full)), 10),
		limit:   l,
		buckets: b,
		refused: refused,
		evicted: evicted,
	}
}

// Wrap makes the handler.
func (r *Ratelimit) Wrap(next middleware.Handler) middleware.Handler { return &handler{r, next} }

type handler struct {
	*Ratelimit
	next middleware.Handler
}

func (h *handler) Serve(x *middleware.Exchange) error {
	l := h.buckets.use(h.limit)
	var t taken
	if h.key.By == ByNone {
		t = h.buckets.take(l)
	} else {
		t = h.buckets.takeOf(l, h.hash(x))
		if t.evicted {
			h.evicted.Inc()
		}
	}
	if !t.ok {
		h.refused.Inc()
		return h.refuse(x, t)
	}
	err := h.next.Serve(x)
	if err == nil && h.headers == Always {
		h.mark(x, t)
	}
	return err
}

func (h *handler) refuse(x *middleware.Exchange, t taken) error {
	if err := x.ReplyMessage(http.StatusTooManyRequests, ReasonRateLimited, "too many requests: try again later, as Retry-After says"); err != nil {
		return err
	}
	var buf [20]byte
	x.Response.Header.SetBytes("retry-after", strconv.AppendInt(buf[:0], max(1, seconds(t.wait)), 10))
	if h.headers != Never {
		h.mark(x, t)
	}
	return nil
}

// mark sets the fields of draft-ietf-httpapi-ratelimit-headers-10. Those that an
// inner hop has set stay: each is an item of a list.
func (h *handler) mark(x *middleware.Exchange, t taken) {
	var buf [128]byte
	b := append(buf[:0], h.name...)
	b = append(b, ";r="...)
	b = strconv.AppendInt(b, t.left, 10)
	b = append(b, ";t="...)
	b = strconv.AppendInt(b, seconds(t.refill), 10)
	x.Response.Header.Add("ratelimit-policy", h.policy)
	x.Response.Header.AddBytes("ratelimit", b)
}

// hash is that of the key of a request. Two keys with one hash of 64 bits share
// a bucket, which nobody can bring about: the seed is the process's own.
func (h *handler) hash(x *middleware.Exchange) uint64 {
	seed := h.buckets.seed
	switch h.key.By {
	case BySource:
		addr := x.Request.Peer.Addr.Addr().Unmap()
		if addr.Is6() {
			// Who has one IPv6 address has its whole network.
			if p, err := addr.Prefix(64); err == nil {
				addr = p.Addr()
			}
		}
		raw := addr.As16()
		return maphash.Bytes(seed, raw[:])
	case ByPath:
		return maphash.Bytes(seed, x.Request.Path())
	case ByHeader:
		return maphash.Bytes(seed, x.Request.Header.Get(h.key.Header))
	case ByNone:
	}
	return 0
}

// seconds is d in whole seconds, rounded up.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

// quoted is an id as a string of a structured field (RFC 9651, section 3.3.3),
// which holds visible ASCII.
func quoted(id string) string {
	b := []byte{'"'}
	for i := range len(id) {
		switch c := id[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c > '~':
			b = append(b, '?')
		default:
			b = append(b, c)
		}
	}
	return string(append(b, '"'))
}
