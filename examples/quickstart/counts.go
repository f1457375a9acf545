package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/examples/internal/lab"
)

// allAnswered checks that no request failed, as the client saw it.
func (a *acts) allAnswered(res lab.Result) {
	a.out.check(res.Failed == 0 && res.Answered == res.Sent && res.Sent > 0, "no request failed",
		"%d of %d answered, the slowest in %s%s", res.Answered, res.Sent, res.Slowest.Round(time.Millisecond), failures(res))
}

// countedOnce checks the client's number against that of orders.
func (a *acts) countedOnce(res lab.Result, got map[string]int) {
	a.out.check(got["orders-1"] == res.Sent, "orders counted each request once", "%d sent, %d counted", res.Sent, got["orders-1"])
}

// again is how many second tries at users the requests of res took, since there
// had been so many tries.
func (a *acts) again(ctx context.Context, tries int, res lab.Result) (int, error) {
	now, err := a.shop.Attempts(ctx)
	return now - tries - res.Answered, err
}

// counts asks apps how many requests they have served.
func (a *acts) counts(ctx context.Context, names ...string) (map[string]int, error) {
	counts := map[string]int{}
	for _, name := range names {
		n, err := a.shop.Requests(ctx, name)
		if err != nil {
			return nil, err
		}
		counts[name] = n
	}
	return counts, nil
}

// since is how many more the apps have served than before.
func (a *acts) since(ctx context.Context, before map[string]int) (map[string]int, error) {
	now, err := a.counts(ctx, slices.Collect(maps.Keys(before))...)
	for name := range now {
		now[name] -= before[name]
	}
	return now, err
}

// awaitAnswer waits until somebody has answered a request of the traffic.
func (a *acts) awaitAnswer(ctx context.Context, traffic *lab.Traffic, who string) error {
	return a.awaitMore(ctx, traffic, who, 0)
}

// awaitMore waits until somebody has answered more of the traffic's requests
// than n.
func (a *acts) awaitMore(ctx context.Context, traffic *lab.Traffic, who string, n int) error {
	ctx, cancel := context.WithTimeout(ctx, actLimit)
	defer cancel()
	return lab.Until(ctx, func(context.Context) error {
		if by := traffic.Result().By; by[who] <= n {
			return fmt.Errorf("no more answers from %s, but from %v", who, by)
		}
		return nil
	})
}

// sent waits until n more requests of the traffic have been made.
func sent(ctx context.Context, traffic *lab.Traffic, n int) error {
	ctx, cancel := context.WithTimeout(ctx, actLimit)
	defer cancel()
	until := traffic.Result().Sent + n
	return lab.Until(ctx, func(context.Context) error {
		if res := traffic.Result(); res.Sent < until {
			return fmt.Errorf("the traffic stalls: %d of %d requests were made%s", res.Sent, until, failures(res))
		}
		return nil
	})
}

func failures(res lab.Result) string {
	if res.Failed == 0 {
		return ""
	}
	return fmt.Sprintf("; %d failed: %s", res.Failed, strings.Join(res.Failures, "; "))
}

func because(err error) string {
	if err == nil {
		return ""
	}
	return "; " + err.Error()
}
