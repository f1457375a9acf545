package main

import (
	"context"
	"fmt"
	"time"

	"github.com/outrigger-mesh/outrigger/examples/internal/lab"
)

// ownZone tells the mesh where machines stand.
func (a *acts) ownZone(ctx context.Context) error {
	s, out := a.shop, a.out
	out.act("The CMDB tells where machines stand: the caller's own zone is preferred")
	const many = 40
	before, err := a.counts(ctx, "catalog-1", "catalog-2")
	if err != nil {
		return err
	}
	apart := lab.Send(ctx, s.CatalogLoad(0), many)
	got, err := a.since(ctx, before)
	if err != nil {
		return err
	}
	out.check(apart.Failed == 0 && min(got["catalog-1"], got["catalog-2"]) >= many/4,
		"so far both instances of catalog take their share", "catalog-1 counted %d, catalog-2 %d", got["catalog-1"], got["catalog-2"])

	out.say("$ cmdb-sync run -c cmdb-sync.yaml    # hosts.csv: orders and catalog-1 stand in zone bj-1, catalog-2 in bj-2")
	began := time.Now()
	if err := s.StartSync(); err != nil {
		return err
	}
	if err := a.awaitOnly(ctx, s.Sync, "catalog-1"); err != nil {
		return err
	}
	took := time.Since(began).Round(10 * time.Millisecond)
	if before, err = a.counts(ctx, "catalog-1", "catalog-2"); err != nil {
		return err
	}
	res := lab.Send(ctx, s.CatalogLoad(0), many)
	if got, err = a.since(ctx, before); err != nil {
		return err
	}
	out.check(res.Failed == 0 && got["catalog-1"] == many && got["catalog-2"] == 0, "all of it goes to the instance in the own zone",
		"%s after the start of cmdb-sync; catalog-1 counted %d, catalog-2 %d%s", took, got["catalog-1"], got["catalog-2"], failures(res))
	return a.showEndpoints(ctx)
}

// maintenance takes a machine out of service and back, amid traffic.
func (a *acts) maintenance(ctx context.Context) error {
	s, out := a.shop, a.out
	out.act("A machine goes into maintenance, and comes back")
	before, err := a.counts(ctx, "orders-1")
	if err != nil {
		return err
	}
	traffic := lab.StartTraffic(ctx, s.CatalogLoad(rate))
	if err := sent(ctx, traffic, rate); err != nil {
		return err
	}
	out.say("Steady traffic. In hosts.csv the status of vm-4, the machine of catalog-1, is set to maintenance.")
	began := time.Now()
	if err := s.Edit("hosts.csv", vm4+"in service", vm4+"maintenance"); err != nil {
		return err
	}
	drained := a.awaitAnswer(ctx, traffic, "catalog-2")
	took := time.Since(began).Round(10 * time.Millisecond)
	if err := sent(ctx, traffic, 10); err != nil { // what was on its way
		return err
	}
	middle, err := a.counts(ctx, "catalog-1")
	if err != nil {
		return err
	}
	if err := sent(ctx, traffic, rate); err != nil {
		return err
	}
	got, err := a.since(ctx, middle)
	if err != nil {
		return err
	}
	out.check(drained == nil && got["catalog-1"] == 0, "catalog-1 gets no more requests, catalog-2 in the other zone takes them",
		"%s after the file was saved; of the next %d catalog-1 counted %d%s", took, rate, got["catalog-1"], because(drained))

	if err := a.showEndpoints(ctx); err != nil {
		return err
	}
	began = time.Now()
	so := traffic.Result().By["catalog-1"]
	if err := s.Edit("hosts.csv", vm4+"maintenance", vm4+"in service"); err != nil {
		return err
	}
	back := a.awaitMore(ctx, traffic, "catalog-1", so)
	took = time.Since(began).Round(10 * time.Millisecond)
	if err := sent(ctx, traffic, rate/2); err != nil {
		return err
	}
	res := traffic.Stop()
	if got, err = a.since(ctx, before); err != nil {
		return err
	}
	out.check(back == nil, "back in service it takes them again", "%s after the file was saved%s", took, because(back))
	a.allAnswered(res)
	a.countedOnce(res, got)
	return nil
}

// showEndpoints quotes what the control plane says of the instances of catalog.
func (a *acts) showEndpoints(ctx context.Context) error {
	known, err := a.shop.KnownEndpoints(ctx, "catalog")
	if err != nil {
		return err
	}
	a.out.say("$ controlplane get endpoints --server %s", a.shop.ControlPlaneURL())
	a.out.quote(known)
	return nil
}

// vm4 is the beginning of the line of catalog-1's machine in hosts.csv.
const vm4 = "1004,vm-4,192.0.2.4,bj,bj-1,"

// awaitOnly waits until one instance of catalog answers alone.
func (a *acts) awaitOnly(ctx context.Context, p *lab.Process, who string) error {
	ctx, cancel := context.WithTimeout(ctx, actLimit)
	defer cancel()
	return p.Await(ctx, func(ctx context.Context) error {
		if res := lab.Send(ctx, a.shop.CatalogLoad(0), 10); res.By[who] != res.Sent {
			return fmt.Errorf("%s is not alone in answering: %v%s", who, res.By, failures(res))
		}
		return nil
	})
}
