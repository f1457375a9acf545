// Package job is what cmdb-sync does, step by step: fetch and map a source,
// plan against the control plane, ask the guards, apply, remember. The loop
// that does so again and again is here, too.
package job

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/apply"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/config"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/guard"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/mapping"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/plan"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/snapshot"
	"github.com/outrigger-mesh/outrigger/cmdb-sync/source"
)

// SourceError is that the source could not be read, or not be believed. It
// says nothing about machines.
type SourceError struct {
	Source string
	Err    error
}

// Error names the source.
func (e *SourceError) Error() string { return "source " + e.Source + ": " + e.Err.Error() }

// Unwrap is what went wrong.
func (e *SourceError) Unwrap() error { return e.Err }

// BlockedError is that guards forbid a plan.
type BlockedError struct {
	Results []guard.Result
	Hash    string // of the plan
}

// Error is every guard that blocks, and the plan's hash.
func (e *BlockedError) Error() string {
	lines := make([]string, len(e.Results))
	for i, r := range e.Results {
		lines[i] = "blocked by guard " + r.String()
	}
	return strings.Join(lines, "\n")
}

// Options are what the command line adds to the configuration.
type Options struct {
	AllowEmpty bool   // an empty source is believed
	Approve    string // hash of the plan that guards are overruled for
}

// Job is one source and one control plane. It is not safe for concurrent use.
type Job struct {
	name     string
	config   *config.Config
	interval time.Duration
	canaries []string
	source   source.Source
	client   *apply.Client
	dir      snapshot.Dir
	audit    *Audit
	metrics  *Metrics
	log      *slog.Logger
	options  Options

	now     func() time.Time
	poll    time.Duration // how often a source is asked whether it changed
	saved   string        // hash of the snapshot that is on disk
	blocked string        // hash of the plan that was last said to be blocked
}

// New makes a job of a configuration. Close frees what it has.
func New(c *config.Config, o Options, log *slog.Logger) (*Job, error) {
	s := c.Sources[0]
	src, err := c.Open(s, log.With("source", s.Name))
	if err != nil {
		return nil, err
	}
	client := apply.New(apply.Config{Server: c.Controlplane.Server, TokenFile: c.Controlplane.TokenFile, Timeout: c.Controlplane.Timeout}, log)
	return &Job{
		name: s.Name, config: c, interval: s.Interval, canaries: s.Canaries, source: src, client: client,
		dir: snapshot.Dir{Path: c.State.Path}, audit: &Audit{Path: c.Audit.Path}, metrics: newMetrics(s.Name),
		log: log.With("component", "cmdb-sync", "source", s.Name), options: o,
		now: time.Now, poll: 400 * time.Millisecond,
	}, nil
}

// Close frees connections.
func (j *Job) Close() { j.client.Close() }

// Metrics are the job's own.
func (j *Job) Metrics() *Metrics { return j.metrics }

// Fetch reads the source and maps its records. The error is a *SourceError.
func (j *Job) Fetch(ctx context.Context) (*snapshot.Snapshot, error) {
	s, err := j.fetch(ctx)
	var duplicate *snapshot.DuplicateError
	if errors.As(err, &duplicate) {
		// A page may have moved under the fetch. Once.
		j.log.Info("a key is there twice: fetching again", "key", duplicate.Key)
		s, err = j.fetch(ctx)
	}
	if err != nil {
		return nil, &SourceError{Source: j.name, Err: err}
	}
	j.metrics.fetched(s)
	return s, nil
}

func (j *Job) fetch(ctx context.Context) (*snapshot.Snapshot, error) {
	s := &snapshot.Snapshot{Source: j.name, Config: j.config.Hash, Time: j.now()}
	seen := 0
	report, err := j.source.Fetch(ctx, "", func(r source.Record) error {
		seen++
		s.In = r.Place.In
		m, err := j.config.Mapping.Map(r)
		var refused *mapping.Unmappable
		switch {
		case errors.As(err, &refused):
			s.Quarantined = append(s.Quarantined, snapshot.Quarantine{Place: r.Place, Key: refused.Key, Reason: refused.Reason})
		case err != nil:
			return err
		default:
			s.Entries = append(s.Entries, snapshot.Entry{Machine: m})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if report.Total != seen {
		return nil, fmt.Errorf("it says that it has %d records, and gave %d", report.Total, seen)
	}
	s.Total = report.Total
	if err := s.Seal(); err != nil {
		return nil, err
	}
	return s, j.refuseEmpty(s)
}

func (j *Job) refuseEmpty(s *snapshot.Snapshot) error {
	if s.Total == 0 && !j.options.AllowEmpty {
		return errors.New("it has no records: an empty source is taken for a broken one (--allow-empty believes it)")
	}
	return nil
}

// Use takes a snapshot from a file for what the source has.
func (j *Job) Use(path string) (*snapshot.Snapshot, error) {
	s, err := snapshot.ReadFile(path)
	if err == nil && s.Source != j.name {
		err = fmt.Errorf("%s is a snapshot of the source %s", path, s.Source)
	}
	if err == nil {
		err = j.refuseEmpty(s)
	}
	if err != nil {
		return nil, &SourceError{Source: j.name, Err: err}
	}
	return s, nil
}

// Plan plans what would make the mesh agree with a snapshot.
func (j *Job) Plan(ctx context.Context, s *snapshot.Snapshot) (*plan.Plan, error) {
	hosts, err := j.client.Hosts(ctx)
	if err != nil {
		return nil, err
	}
	state, err := j.dir.State(j.name)
	if err != nil {
		// Losing it is safe, and a mesh that stands still for it is not.
		j.log.Warn("what was remembered cannot be read: absences are counted anew", "error", err)
		state = nil
	}
	now := j.now()
	return plan.Make(plan.Input{
		Run: runID(now), Now: now, Server: j.config.Controlplane.Server, Base: hosts.Revision, Present: hosts.List,
		Snapshot: s, Config: j.config.Hash, Canaries: j.canaries, Guard: j.config.Guard, State: state,
	})
}

// Apply applies a plan that no guard forbids, or that is approved, and
// remembers it. A plan with nothing to do is remembered alone.
func (j *Job) Apply(ctx context.Context, p *plan.Plan) (apply.Applied, error) {
	approved := false
	if p.Blocked() {
		approved = j.options.Approve == p.Hash
		if !approved {
			return apply.Applied{}, &BlockedError{Results: guard.Blocked(p.Guards), Hash: p.Hash}
		}
	}
	result := apply.Applied{Revision: p.Base}
	if !p.Empty() {
		if err := j.audit.begin(p, approved); err != nil {
			return result, fmt.Errorf("nothing is applied that cannot be audited: %w", err)
		}
		var err error
		result, err = j.client.Apply(ctx, p)
		if auditErr := j.audit.end(p, result, err); auditErr != nil {
			err = errors.Join(err, auditErr)
		}
		if err != nil {
			return result, err
		}
		j.metrics.applied(p)
	}
	if err := j.remember(p); err != nil {
		return result, fmt.Errorf("the plan is applied at revision %s, but it cannot be remembered: %w", result.Revision, err)
	}
	return result, nil
}

// remember keeps what the next run has to know; nothing where it knows.
func (j *Job) remember(p *plan.Plan) error {
	state := &snapshot.State{Run: p.Run, Time: p.Created, Total: p.Counts.Records, Hash: p.Snapshot, Absent: p.Absent}
	old, err := j.dir.State(j.name)
	if err == nil && old != nil && old.Total == state.Total && old.Hash == state.Hash && maps.Equal(old.Absent, state.Absent) {
		return nil
	}
	return j.dir.SaveState(j.name, state)
}

// keep writes the snapshot to disk where it is another than the one there.
func (j *Job) keep(s *snapshot.Snapshot) error {
	if j.saved == "" {
		if old, err := j.dir.Snapshot(j.name); err == nil && old != nil {
			j.saved = old.Hash
		}
	}
	if j.saved == s.Hash {
		return nil
	}
	if err := j.dir.SaveSnapshot(s); err != nil {
		return err
	}
	j.saved = s.Hash
	return nil
}

// runID sorts by time and is unique.
func runID(now time.Time) string {
	var b [3]byte
	_, _ = rand.Read(b[:]) // never fails
	return now.UTC().Format("20060102T150405Z") + "-" + hex.EncodeToString(b[:])
}
