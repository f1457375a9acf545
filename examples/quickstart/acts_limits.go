package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/examples/internal/lab"
)

// The limits of middleware.yaml, per path and second.
const (
	limit     = "rate: 30/s, burst: 30"
	limitRate = 30
	limitAll  = 30
)

// hot is requests for one and the same order.
func (a *acts) hot(id string) lab.Load {
	load := a.shop.Load(rate)
	load.URL, load.Same = load.URL+id, true
	return load
}

// burst asks too often for one order.
func (a *acts) burst(ctx context.Context) error {
	s, out := a.shop, a.out
	out.act("A burst is limited at the gateway")
	const many, atOnce = 600, 20
	before, err := a.counts(ctx, "orders-1")
	if err != nil {
		return err
	}
	steady := lab.StartTraffic(ctx, s.Load(rate))
	if err := sent(ctx, steady, rate/2); err != nil {
		return err
	}
	out.say("middleware.yaml lets a path pass %d times at once, then %d times a second. %d requests for /orders/hot, %d at a time:",
		limitAll, limitRate, many, atOnce)
	began := time.Now()
	burst := lab.Burst(ctx, a.hot("hot"), many, atOnce)
	took := time.Since(began)
	if err := sent(ctx, steady, rate/2); err != nil {
		return err
	}
	res := steady.Stop()
	got, err := a.since(ctx, before)
	if err != nil {
		return err
	}
	most := limitAll + int(limitRate*took.Seconds()) + 1
	out.check(burst.Statuses[429] > 0 && burst.Statuses[429] == burst.Failed, "what is too much is answered with 429",
		"%d of %d within %s", burst.Statuses[429], many, took.Round(time.Millisecond))
	reached := got["orders-1"] - res.Sent
	out.check(reached == burst.Answered && reached <= most, "orders saw no more than the limit lets through",
		"it counted %d of the burst, the limit comes to %d", reached, most)
	out.check(res.Failed == 0, "nobody else noticed", "%d other requests were answered meanwhile%s", res.Answered, failures(res))
	return nil
}

// brokenPromo has a service fail until its circuit opens.
func (a *acts) brokenPromo(ctx context.Context) error {
	s, out := a.shop, a.out
	out.act("promo fails: its circuit opens, and orders goes on without it")
	before, err := a.counts(ctx, "orders-1")
	if err != nil {
		return err
	}
	traffic := lab.StartTraffic(ctx, s.Load(rate))
	if err := sent(ctx, traffic, rate/2); err != nil {
		return err
	}
	out.say("From now on promo answers every request with 500.")
	if err := s.BreakPromo(ctx, true); err != nil {
		return err
	}
	open := s.AwaitCircuit(ctx, actLimit, true)
	opened, err := a.counts(ctx, "promo-1")
	if err != nil {
		return err
	}
	if err := sent(ctx, traffic, 3*rate); err != nil {
		return err
	}
	got, err := a.since(ctx, opened)
	if err != nil {
		return err
	}
	out.check(open == nil && got["promo-1"] <= 3*rate/5, "its circuit has opened: calls stop reaching it, but for a probe every 2 s",
		"of the next %d orders it counted %d%s", 3*rate, got["promo-1"], because(open))

	out.say("promo works again.")
	if err := s.BreakPromo(ctx, false); err != nil {
		return err
	}
	closed := s.AwaitCircuit(ctx, actLimit, false)
	if err := sent(ctx, traffic, rate/2); err != nil {
		return err
	}
	res := traffic.Stop()
	if got, err = a.since(ctx, before); err != nil {
		return err
	}
	a.allAnswered(res)
	a.countedOnce(res, got)

	const more = 20
	again, err := a.counts(ctx, "promo-1")
	if err != nil {
		return err
	}
	load := s.Load(0)
	load.Expect = lab.Field("promo", "instance")
	after := lab.Send(ctx, load, more)
	if got, err = a.since(ctx, again); err != nil {
		return err
	}
	out.check(closed == nil && after.Failed == 0 && got["promo-1"] == more, "its circuit has closed: every order has its promotion again",
		"%d orders, it counted %d%s%s", more, got["promo-1"], failures(after), because(closed))
	return nil
}

// changeLimit saves middleware.yaml, with a mistake and without.
func (a *acts) changeLimit(ctx context.Context) error {
	s, out := a.shop, a.out
	out.act("A limit is changed in middleware.yaml")
	const lower = "rate: 5/s, burst: 5"
	try := func(id string) lab.Result { return lab.Send(ctx, a.hot(id), limitAll*2/3) }
	first := try("before")
	out.check(first.Failed == 0, "the limit in force lets this through", "%d requests for one order, all answered%s", first.Sent, failures(first))

	if err := s.Edit("middleware.yaml", limit, lower); err != nil {
		return err
	}
	out.say("The file is saved with %q in place of %q; nothing is restarted.", lower, limit)
	began := time.Now()
	last, err := a.awaitLimit(ctx, "lower", try, true)
	took := time.Since(began)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	out.check(err == nil && took < 2*time.Second, "the new limit is in force", "%s later; %d of %d requests answered 429%s",
		took.Round(10*time.Millisecond), last.Statuses[429], last.Sent, because(err))

	if err := s.Edit("middleware.yaml", lower, "rate: often, burst: 5"); err != nil {
		return err
	}
	said, err := a.awaitComplaint(ctx)
	if err != nil {
		return err
	}
	still := try("wrong")
	out.check(still.Statuses[429] > 0 && still.Statuses[429] == still.Failed, "a mistake changes nothing, and is named with its place",
		"%s; still limited: %d of %d answered 429", said, still.Statuses[429], still.Sent)

	if err := s.Edit("middleware.yaml", "rate: often, burst: 5", limit); err != nil {
		return err
	}
	last, err = a.awaitLimit(ctx, "old", try, false)
	out.check(err == nil, "the old limit is back", "%d of %d requests answered%s", last.Answered, last.Sent, because(err))
	return ctx.Err()
}

// awaitLimit makes rounds of requests, each for another order, until one of them
// is limited, or is not.
func (a *acts) awaitLimit(ctx context.Context, name string, try func(string) lab.Result, limited bool) (lab.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, actLimit)
	defer cancel()
	var last lab.Result
	round := 0
	err := lab.Until(ctx, func(context.Context) error {
		round++
		last = try(fmt.Sprintf("%s-%d", name, round))
		if (last.Statuses[429] > 0) != limited {
			return fmt.Errorf("the limit is not in force: %d of %d answered%s", last.Answered, last.Sent, failures(last))
		}
		return nil
	})
	return last, err
}

// awaitComplaint waits until the gateway's log tells of a mistake in
// middleware.yaml, and returns what it says.
func (a *acts) awaitComplaint(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, actLimit)
	defer cancel()
	var said string
	err := a.shop.Gateway.Await(ctx, func(context.Context) error {
		said = a.shop.Complaint("gateway", "middleware.yaml:")
		if said == "" {
			return errors.New("the log of the gateway has no complaint")
		}
		return nil
	})
	said, _, _ = strings.Cut(said, "\n")
	return said, err
}
