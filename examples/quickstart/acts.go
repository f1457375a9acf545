package main

import (
	"context"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/examples/internal/lab"
	"github.com/outrigger-mesh/outrigger/examples/internal/shop"
)

// lastAct is how many acts there are.
const lastAct = 10

// rate is how many requests a second the steady traffic has.
const rate = 50

// actLimit bounds what is waited for within an act.
const actLimit = 20 * time.Second

// atFirst are the instances that are started at the beginning.
var atFirst = []struct{ service, name string }{
	{"orders", "orders-1"},
	{"users", "users-1"},
	{"users", "users-2"},
	{"catalog", "catalog-1"},
	{"catalog", "catalog-2"},
	{"promo", "promo-1"},
}

// acts is the play. Each act leaves no traffic behind, so that the next one can
// compare what was sent with what the apps have counted, to the request. An
// error ends the play; a check that fails does not.
type acts struct {
	shop *shop.Shop
	out  *report
}

func (a *acts) all(ctx context.Context) error {
	for _, act := range []func(context.Context) error{
		a.start, a.call, a.ownZone, a.maintenance, a.burst, a.brokenPromo, a.killInstance, a.changeLimit, a.killControlPlane, a.leave,
	} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	return nil
}

// start brings the mesh up.
func (a *acts) start(ctx context.Context) error {
	s := a.shop
	a.out.act("Starting: a control plane, orders, users, catalog and promo, a sidecar beside each, an entry gateway")
	if err := s.StartControlPlane(ctx); err != nil {
		return err
	}
	a.out.say("control plane  xDS and registrations at %s, API at %s", s.Addr("control plane xds"), s.Addr("control plane api"))
	for _, in := range atFirst {
		if _, err := s.Start(ctx, in.service, in.name); err != nil {
			return err
		}
		a.out.say("%-13s  app at %s, its sidecar takes requests for it at %s", in.name, s.Addr(in.name+" app"), s.Addr(in.name+" inbound"))
	}
	if err := s.StartGateway(ctx); err != nil {
		return err
	}
	a.out.say("gateway        requests enter at %s", s.Addr("gateway"))
	begin := time.Now()
	if err := s.AwaitAnswers(ctx, actLimit, "users-1", "users-2", "catalog-1", "catalog-2", "promo-1"); err != nil {
		return err
	}
	a.out.say("The sidecars have found their apps healthy and registered them; the first answers came %s later.",
		time.Since(begin).Round(10*time.Millisecond))
	return nil
}

// call shows one request and its path, and many and where they went.
func (a *acts) call(ctx context.Context) error {
	s, out := a.shop, a.out
	out.act("One request through the whole mesh")
	before, err := a.counts(ctx, "orders-1", "users-1", "users-2")
	if err != nil {
		return err
	}
	out.say("$ curl -H 'Host: %s' http://%s/orders/1", shop.Host, s.Addr("gateway"))
	body, order, err := a.order(ctx)
	if err != nil {
		return err
	}
	out.quote(body)
	out.say("Its path: gateway -> %s -> %s, %s and %s. orders asked its own sidecar for the hosts \"users\", \"catalog\" and \"promo\", no more.",
		order.Instance, order.User.Instance, order.Item.Instance, order.promoInstance())
	out.check(order.sameID(), "the id that the gateway gave the request reached all four apps", "%s", order.ids())
	traces, err := a.awaitTraces(ctx, order.RequestID, "gateway", "orders-1", order.User.Instance, order.Item.Instance, order.promoInstance())
	if err != nil {
		return err
	}
	out.check(len(traces) == 1, "one trace id in the access logs of the gateway and of all four", "%s", strings.Join(traces, ", "))

	const many = 40
	res := lab.Send(ctx, s.Load(0), many)
	got, err := a.since(ctx, before)
	if err != nil {
		return err
	}
	a.allAnswered(res)
	out.check(got["orders-1"] == many+1, "orders counted each request once", "%d sent, %d counted", many+1, got["orders-1"])
	least := min(got["users-1"], got["users-2"])
	out.check(got["users-1"]+got["users-2"] == many+1 && least >= many/4,
		"both instances of users took their share", "users-1 counted %d, users-2 %d", got["users-1"], got["users-2"])
	return nil
}

// killInstance kills an instance amid traffic.
func (a *acts) killInstance(ctx context.Context) error {
	s, out := a.shop, a.out
	out.act("One instance of users is killed")
	before, err := a.counts(ctx, "orders-1", "users-2")
	if err != nil {
		return err
	}
	tries, err := s.Attempts(ctx)
	if err != nil {
		return err
	}
	out.say("Steady traffic, %d requests a second. In the middle of it SIGKILL for users-1, the app and its sidecar.", rate)
	traffic := lab.StartTraffic(ctx, s.Load(rate))
	if err := sent(ctx, traffic, rate); err != nil {
		return err
	}
	s.Instance("users-1").Kill()
	if err := sent(ctx, traffic, 2*rate); err != nil {
		return err
	}
	res := traffic.Stop()
	got, err := a.since(ctx, before)
	if err != nil {
		return err
	}
	again, err := a.again(ctx, tries, res)
	if err != nil {
		return err
	}
	out.say("The sidecar of orders tried %d requests again on users-2: what it knows still names users-1 until its lease runs out.", again)
	a.allAnswered(res)
	a.countedOnce(res, got)
	out.check(got["users-2"] == res.By["users-2"], "users-2 counted the requests it answered, each once",
		"%d answers, %d counted", res.By["users-2"], got["users-2"])

	const more = 20
	middle, err := a.counts(ctx, "users-2")
	if err != nil {
		return err
	}
	after := lab.Send(ctx, s.Load(0), more)
	got, err = a.since(ctx, middle)
	if err != nil {
		return err
	}
	out.check(after.Failed == 0 && got["users-2"] == more, "users-2 takes all that comes now", "%d sent, it counted %d", more, got["users-2"])

	out.say("users-1 is started again, at the same address.")
	if _, err := s.Start(ctx, "users", "users-1"); err != nil {
		return err
	}
	if err := s.AwaitAnswers(ctx, actLimit, "users-1", "users-2"); err != nil {
		return err
	}
	n, err := s.Requests(ctx, "users-1")
	if err != nil {
		return err
	}
	out.check(n > 0, "it is back and takes traffic", "the new process counted %d", n)
	return nil
}

// killControlPlane kills and restarts the control plane amid traffic, then
// adds an instance.
func (a *acts) killControlPlane(ctx context.Context) error {
	s, out := a.shop, a.out
	out.act("The control plane is killed, comes back, and a third instance of users joins")
	if err := s.AwaitEndpoints(ctx, actLimit, "users-1", "users-2"); err != nil {
		return err
	}
	before, err := a.counts(ctx, "orders-1", "catalog-2")
	if err != nil {
		return err
	}
	watch := s.WatchEndpoints(ctx)
	traffic := lab.StartTraffic(ctx, s.Load(rate))
	if err := sent(ctx, traffic, rate); err != nil {
		return err
	}
	s.ControlPlane.Kill()
	begun := traffic.Result()
	out.say("SIGKILL for the control plane. The sidecars go on with what they know.")
	if err := sent(ctx, traffic, 2*rate); err != nil {
		return err
	}
	without := traffic.Result()
	out.check(without.Failed == 0, "without a control plane no request failed",
		"%d answered meanwhile%s", without.Answered-begun.Answered, failures(without))

	if err := s.StartControlPlane(ctx); err != nil {
		return err
	}
	out.say("It is up again, with what it stored; now users-3 is started.")
	began := time.Now()
	if _, err := s.Start(ctx, "users", "users-3"); err != nil {
		return err
	}
	answered := a.awaitAnswer(ctx, traffic, "users-3")
	took := time.Since(began).Round(10 * time.Millisecond)
	// Those of the beginning and users-3; the gateway has nothing to register.
	streams := len(atFirst) + 1
	returned := s.AwaitRegistrations(ctx, actLimit, streams)
	if err := sent(ctx, traffic, rate); err != nil {
		return err
	}
	res := traffic.Stop()
	fewest, samples, watchErr := watch.Stop()
	got, err := a.since(ctx, before)
	if err != nil {
		return err
	}
	third, err := s.Requests(ctx, "users-3")
	if err != nil {
		return err
	}
	out.check(answered == nil && third > 0 && third == res.By["users-3"], "users-3 joined the traffic",
		"%s after its start; it counted %d requests", took, third)
	out.check(returned == nil, "every sidecar has found the control plane again", "%d registrations stand%s", streams, because(returned))
	out.check(got["catalog-2"] == 0, "where machines stand is not forgotten either", "catalog-2, in the other zone, counted %d requests", got["catalog-2"])
	a.allAnswered(res)
	a.countedOnce(res, got)
	out.check(watchErr == nil && len(fewest) >= 2, "the endpoints of users never shrank",
		"the sidecar of orders was asked %d times and always knew %d or more%s", samples, len(fewest), because(watchErr))
	return nil
}

// leave ends an instance the polite way.
func (a *acts) leave(ctx context.Context) error {
	s, out := a.shop, a.out
	out.act("One instance of users leaves by SIGTERM")
	if err := s.AwaitEndpoints(ctx, actLimit, "users-1", "users-2", "users-3"); err != nil {
		return err
	}
	before, err := a.counts(ctx, "orders-1")
	if err != nil {
		return err
	}
	tries, err := s.Attempts(ctx)
	if err != nil {
		return err
	}
	traffic := lab.StartTraffic(ctx, s.Load(rate))
	if err := sent(ctx, traffic, rate); err != nil {
		return err
	}
	out.say("Its sidecar deregisters it first, then lets requests finish, then ends; then the app is ended.")
	began := time.Now()
	limit, cancel := context.WithTimeout(ctx, actLimit)
	defer cancel()
	ended := make(chan error, 1)
	leaving := s.Instance("users-2")
	go func() { ended <- leaving.Sidecar.Terminate(limit) }()
	gone := s.AwaitEndpoints(ctx, actLimit, "users-1", "users-3")
	took := time.Since(began).Round(10 * time.Millisecond)
	sidecarErr := <-ended
	appErr := leaving.App.Terminate(limit)
	if err := sent(ctx, traffic, rate); err != nil {
		return err
	}
	res := traffic.Stop()
	got, err := a.since(ctx, before)
	if err != nil {
		return err
	}
	// A lease that ran out would have taken 15 s.
	out.check(gone == nil && took < 5*time.Second, "it was deregistered, not merely lost", "gone from the endpoints after %s%s", took, because(gone))
	out.check(sidecarErr == nil && appErr == nil, "sidecar and app ended by themselves", "exit codes 0%s%s", because(sidecarErr), because(appErr))
	again, err := a.again(ctx, tries, res)
	if err != nil {
		return err
	}
	out.check(again == 0, "nobody was sent to it in vain", "%d requests had to be tried again", again)
	a.allAnswered(res)
	a.countedOnce(res, got)
	return nil
}
