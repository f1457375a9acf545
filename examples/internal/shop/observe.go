package shop

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/outrigger-mesh/outrigger/examples/internal/lab"
)

// usersCluster is what users is called over xDS.
const usersCluster = "users.default:80"

// Load is requests for orders, entering at the gateway; they are answered by
// some instance of users in the end.
func (s *Shop) Load(rate int) lab.Load {
	return lab.Load{
		URL:    "http://" + s.Addr("gateway") + "/orders/",
		Host:   Host,
		Rate:   rate,
		Expect: lab.Field("user", "instance"),
	}
}

// CatalogLoad is the same, judged by who answered for catalog.
func (s *Shop) CatalogLoad(rate int) lab.Load {
	load := s.Load(rate)
	load.Expect = lab.Field("item", "instance")
	return load
}

// Requests is how many requests the app of an instance says that it served.
func (s *Shop) Requests(ctx context.Context, name string) (int, error) {
	return lab.Requests(ctx, s.Addr(name+" app"))
}

// Endpoints are the addresses that the sidecar beside orders may send requests
// for users to, sorted.
func (s *Shop) Endpoints(ctx context.Context) ([]string, error) {
	return s.EndpointsOf(ctx, "orders-1 admin", usersCluster)
}

// AwaitEndpoints waits until the sidecar beside orders knows exactly the named
// instances of users.
func (s *Shop) AwaitEndpoints(ctx context.Context, limit time.Duration, names ...string) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	want := make([]string, 0, len(names))
	for _, name := range names {
		want = append(want, s.Addr(name+" inbound"))
	}
	slices.Sort(want)
	return lab.Until(ctx, func(ctx context.Context) error {
		got, err := s.Endpoints(ctx)
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("the sidecar of orders knows [%s] for users, want [%s]",
				strings.Join(got, " "), strings.Join(want, " "))
		}
		return err
	})
}

// Attempts is how many tries at users the sidecar beside orders has made, the
// second ones for a request included.
func (s *Shop) Attempts(ctx context.Context) (int, error) {
	n, err := lab.Metric(ctx, "http://"+s.Addr("orders-1 admin")+"/metrics",
		"outrigger_attempts_total", `service="`+usersCluster+`"`)
	return int(n), err
}

// AwaitRegistrations waits until the registration streams of n sidecars stand at
// the control plane.
func (s *Shop) AwaitRegistrations(ctx context.Context, limit time.Duration, n int) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return lab.Until(ctx, func(ctx context.Context) error {
		got, err := lab.Metric(ctx, "http://"+s.Addr("control plane api")+"/metrics", "outrigger_registration_streams")
		if err == nil && int(got) != n {
			err = fmt.Errorf("%v sidecars hold a registration stream, want %d", got, n)
		}
		return err
	})
}

// AwaitAnswers waits until every named instance of users, catalog and promo has
// had its part in an answer to a request that entered at the gateway.
func (s *Shop) AwaitAnswers(ctx context.Context, limit time.Duration, names ...string) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	load := s.Load(0)
	load.Expect = everybody
	return lab.Until(ctx, func(ctx context.Context) error {
		res := lab.Send(ctx, load, 4)
		seen := strings.Fields(strings.Join(slices.Collect(maps.Keys(res.By)), " "))
		for _, name := range names {
			if !slices.Contains(seen, name) {
				return fmt.Errorf("%s has not answered; answers came from %v, failures: %q", name, res.By, res.Failures)
			}
		}
		if res.Failed > 0 {
			return fmt.Errorf("requests failed: %q", res.Failures)
		}
		return nil
	})
}

// everybody is an Expect function: all who had a part in the answer.
func everybody(body []byte) (string, error) {
	user, err := lab.Field("user", "instance")(body)
	if err != nil {
		return "", err
	}
	item, err := lab.Field("item", "instance")(body)
	if err != nil {
		return "", err
	}
	promo, err := lab.Field("promo", "instance")(body)
	if err != nil {
		promo = "" // an order does without it
	}
	return strings.Join([]string{user, item, promo}, " "), nil
}

// Watch samples the endpoints that the sidecar beside orders knows for users,
// for as long as it runs.
type Watch struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	samples int
	fewest  []string
	err     error
}

// WatchEndpoints begins to sample, about fifty times a second.
func (s *Shop) WatchEndpoints(ctx context.Context) *Watch {
	ctx, cancel := context.WithCancel(ctx)
	w := &Watch{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		for ctx.Err() == nil {
			got, err := s.Endpoints(ctx)
			if ctx.Err() != nil {
				return
			}
			w.note(got, err)
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return w
}

func (w *Watch) note(got []string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.err = err
		return
	}
	if w.samples == 0 || len(got) < len(w.fewest) {
		w.fewest = got
	}
	w.samples++
}

// Stop ends the sampling. It returns the smallest set of endpoints seen and
// how many samples were taken; an error if one of them failed.
func (w *Watch) Stop() (fewest []string, samples int, err error) {
	w.cancel()
	<-w.done
	return w.fewest, w.samples, w.err
}
