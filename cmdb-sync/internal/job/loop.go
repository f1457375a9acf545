package job

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/apply"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/plan"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/source"
)

// replans is how often one run plans again because the hosts changed under it.
const replans = 3

// Once does one run: fetch, plan, apply, remember. The plan is nil where there
// was none.
func (j *Job) Once(ctx context.Context) (*plan.Plan, error) {
	began := j.now()
	p, err := j.once(ctx)
	j.metrics.ran(result(p, err), j.now(), j.now().Sub(began))
	var blocked *BlockedError
	if errors.As(err, &blocked) {
		j.metrics.blocked(blocked)
	}
	return p, err
}

func (j *Job) once(ctx context.Context) (*plan.Plan, error) {
	s, err := j.Fetch(ctx)
	if err != nil {
		return nil, err
	}
	for n := 1; ; n++ {
		p, err := j.Plan(ctx, s)
		if err != nil {
			return nil, err
		}
		j.metrics.planned(p)
		_, err = j.Apply(ctx, p)
		if errors.Is(err, apply.ErrStale) && n < replans {
			j.log.Info("planning again", "reason", err.Error())
			continue
		}
		if err != nil {
			return p, err
		}
		return p, j.keep(s)
	}
}

// result is how a run ended, for the metrics.
func result(p *plan.Plan, err error) string {
	var failed *SourceError
	var blocked *BlockedError
	switch {
	case errors.As(err, &failed):
		return "source_failed"
	case errors.As(err, &blocked):
		return "blocked"
	case errors.Is(err, apply.ErrStale):
		return "stale"
	case err != nil:
		return "failed"
	case p.Empty():
		return "unchanged"
	}
	return "applied"
}

// Run does one run after the other until ctx ends: each interval, and as soon
// as the source says that it has changed. What fails is logged and tried
// again; what the mesh has stays as it is meanwhile.
func (j *Job) Run(ctx context.Context) error {
	failures := 0
	for {
		before := j.stamp()
		p, err := j.Once(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // it was told to end
		}
		j.report(p, err)
		failures++
		if err == nil {
			failures = 0
		}
		if !j.await(ctx, jittered(j.pause(err, failures)), before) {
			return nil
		}
	}
}

// report logs how a run ended.
func (j *Job) report(p *plan.Plan, err error) {
	var blocked *BlockedError
	switch {
	case errors.As(err, &blocked):
		if j.blocked == blocked.Hash {
			return // said before
		}
		j.blocked = blocked.Hash
		for _, r := range blocked.Results {
			j.log.Error("blocked by a guard", "rule", r.Rule, "saw", r.Saw, "limit", r.Limit, "hash", blocked.Hash)
		}
		if err := j.audit.blocked(p); err != nil {
			j.log.Error("the audit log cannot be written", "error", err)
		}
	case err != nil:
		j.log.Error("the run failed, the mesh keeps what it has", "error", err)
	case p.Empty():
		j.log.Debug("nothing to do", "run", p.Run, "hosts", p.Counts.Present, "waiting", p.Counts.Waiting)
	default:
		j.log.Info("applied", "run", p.Run, "add", p.Counts.Add, "modify", p.Counts.Modify, "drain", p.Counts.Drain, "remove", p.Counts.Remove)
	}
	if err == nil {
		j.blocked = ""
		for _, q := range p.Quarantined {
			j.log.Debug("quarantined", "place", q.Place.String(), "key", q.Key, "reason", q.Reason)
		}
		if n := len(p.Quarantined); n > 0 {
			j.log.Warn("records are quarantined", "count", n, "first", p.Quarantined[0].Reason)
		}
	}
}

// pause is how long to wait for the next run. A source that fails is asked
// less and less often; the control plane is looked for soon.
func (j *Job) pause(err error, failures int) time.Duration {
	var failed *SourceError
	var blocked *BlockedError
	switch {
	case err == nil || errors.As(err, &blocked):
		return j.interval
	case errors.As(err, &failed):
		return j.interval << min(failures-1, 3)
	}
	return min(j.interval, time.Second<<min(failures-1, 6))
}

// jittered keeps many jobs from beating in step: d, give or take a tenth.
func jittered(d time.Duration) time.Duration {
	return d*9/10 + rand.N(d/5+1)
}

// await waits for so long, or until the source has another stamp than before
// and that one for two looks: a file is written in more than one step. It
// reports whether to go on: not where ctx has ended.
func (j *Job) await(ctx context.Context, d time.Duration, before string) bool {
	end := time.NewTimer(d)
	defer end.Stop()
	poll := time.NewTicker(j.poll)
	defer poll.Stop()
	last := before
	for {
		select {
		case <-ctx.Done():
			return false
		case <-end.C:
			return true
		case <-poll.C:
		}
		now := j.stamp()
		if now != before && now == last {
			return true
		}
		last = now
	}
}

// stamp is the source's; what cannot be stamped always has the same.
func (j *Job) stamp() string {
	s, ok := j.source.(source.Stamper)
	if !ok {
		return ""
	}
	stamp, err := s.Stamp()
	if err != nil {
		return "error: " + err.Error()
	}
	return stamp
}
