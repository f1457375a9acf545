// Package hop is the benchmark of one hop: the sidecar and other proxies,
// side by side on one machine and in one run, between the same load generator and
// the same backend.
//
// Peers take turns. For each kind of request there are several rounds; within a
// round each peer has its turn of a few seconds, in an order that is rotated
// from round to round, and its figure is divided by that of bare nginx in the
// same round. So what the machine does meanwhile falls on all of them, and the
// spread of the ratios over the rounds tells how much is left of it.
package hop

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/outrigger-mesh/outrigger/bench/internal/load"
	"github.com/outrigger-mesh/outrigger/bench/internal/peer"
)

// calibrations is how many turns of nginx find the rate where throughput is
// not measured anyway.
const calibrations = 3

// overhead is about what a turn takes besides what it measures.
const overhead = 150 * time.Millisecond

// bench is a run that is going on.
type bench struct {
	o        Options
	peers    []peer.Peer
	cases    []Case
	idle     int
	report   *Report
	progress *progress
	backend  *peer.Process
	running  []*peer.Process // as peers; nil where one did not start
}

// Run makes a run. What goes wrong with single peers and turns is in the report's
// Failures; the error is of what ends the run, such as ctx. In both cases
// everything that was started is stopped.
//
// The caller is locked to its thread; see peer.Start.
func Run(ctx context.Context, o Options) (r *Report, err error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	b := &bench{o: o, progress: &progress{w: o.Progress, terminal: o.Terminal}}
	if b.peers, err = o.peers(); err != nil {
		return nil, err
	}
	if b.cases, err = o.cases(); err != nil {
		return nil, err
	}
	begin := time.Now()
	b.report = &Report{
		Started: begin.UTC(), Environment: environment(),
		Settings: Settings{Rounds: o.Rounds, Duration: o.Duration, Warmup: o.warmup(), Connections: o.Connections, Idle: o.Idle},
	}
	if err := b.limits(); err != nil {
		return nil, err
	}
	defer b.progress.end()
	defer func() { err = errors.Join(err, b.stop()) }()
	if err := b.start(ctx); err != nil {
		return nil, err
	}
	b.estimate()
	for _, c := range b.cases {
		if err := b.measure(ctx, c); err != nil {
			return nil, err
		}
	}
	if o.measures(Memory) {
		if err := b.memory(ctx); err != nil {
			return nil, err
		}
	}
	b.report.Summary = summarize(b.cases, b.report.Peers, b.report.Turns)
	b.report.Targets = judge(b.report)
	b.report.Took = time.Since(begin)
	b.noise()
	return b.report, nil
}

// spareFiles is what a process needs besides a descriptor a connection.
const spareFiles = 1200

// limits makes room for descriptors, and takes fewer idle connections where
// the system does not.
func (b *bench) limits() error {
	files, err := raiseFiles(uint64(b.o.Idle + spareFiles)) //nolint:gosec // validated: it is small
	if err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	b.idle = min(b.o.Idle, int(files)-spareFiles) //nolint:gosec // a limit of open files fits
	if b.idle < 1 {
		return fmt.Errorf("the limit of open files is %d, and %d are needed at least: raise it with ulimit -n", files, spareFiles+1)
	}
	if b.idle < b.o.Idle {
		b.report.Notes = append(b.report.Notes, fmt.Sprintf("The limit of open files (%d) allows %d idle connections, not %d.", files, b.idle, b.o.Idle))
	}
	return nil
}

// start starts the backend and all peers.
func (b *bench) start(ctx context.Context) (err error) {
	if b.backend, err = b.launch(ctx, peer.Backend(), "backend", ""); err != nil {
		return err
	}
	for _, p := range b.peers {
		b.progress.step(0, "starting", p.Name)
		version, err := p.Version(ctx)
		if err != nil {
			version = "unknown"
			b.fail("%v", err)
		}
		b.report.Peers = append(b.report.Peers, PeerInfo{Name: p.Name, What: p.What, Version: version})
		proc, err := b.launch(ctx, p, p.Name, b.backend.Site.Listen)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			b.fail("%v", err)
		}
		b.running = append(b.running, proc)
	}
	if b.running[0] == nil {
		return errors.New(b.report.Failures[len(b.report.Failures)-1] + " (without nginx there is nothing to compare with)")
	}
	return nil
}

func (b *bench) launch(ctx context.Context, p peer.Peer, folder, backend string) (*peer.Process, error) {
	s := peer.Site{Dir: filepath.Join(b.o.Dir, folder), Backend: backend, Connections: max(b.idle, b.o.Connections)}
	var err error
	if s.Listen, err = peer.Address(); err != nil {
		return nil, err
	}
	if s.Admin, err = peer.Address(); err != nil {
		return nil, err
	}
	return peer.Start(ctx, p, s)
}

// stop stops everything that was started.
func (b *bench) stop() error {
	var errs []error
	for _, p := range append(slices.Clone(b.running), b.backend) {
		if p != nil {
			errs = append(errs, p.Stop())
		}
	}
	return errors.Join(errs...)
}

func (b *bench) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	b.report.Failures = append(b.report.Failures, text)
	b.progress.say("failed: %s", text)
}

// estimate is how long all of it takes.
func (b *bench) estimate() {
	turns := 0
	for _, m := range []string{Throughput, Latency} {
		if b.o.measures(m) {
			turns += len(b.peers) * b.o.Rounds
		}
	}
	if !b.o.measures(Throughput) && b.o.measures(Latency) {
		turns += calibrations
	}
	b.progress.left = time.Duration(turns*len(b.cases)) * b.turnTime()
	if b.o.measures(Memory) {
		b.progress.left += time.Duration(len(b.peers)) * memoryTime
	}
}

func (b *bench) turnTime() time.Duration { return b.o.Duration + b.o.warmup() + overhead }

// measure makes all rounds of a case: throughput first, since latency is
// measured at half of what nginx has reached in it.
func (b *bench) measure(ctx context.Context, c Case) error {
	first := len(b.report.Turns)
	if b.o.measures(Throughput) {
		if err := b.rounds(ctx, Throughput, c, 0); err != nil {
			return err
		}
	}
	if !b.o.measures(Latency) {
		return nil
	}
	if !b.o.measures(Throughput) {
		for round := range calibrations {
			if err := b.turn(ctx, Turn{Measure: calibration, Case: c.Name, Round: round, Peer: b.peers[0].Name}, c, b.running[0]); err != nil {
				return err
			}
		}
	}
	var reached []float64
	for i := range b.report.Turns[first:] {
		if t := &b.report.Turns[first+i]; t.Peer == b.peers[0].Name && t.Failure == "" {
			reached = append(reached, t.perSecond())
		}
	}
	if len(reached) == 0 {
		b.fail("%s: no turn of %s counts, so there is no rate to measure latency at", c.Name, b.peers[0].Name)
		return nil
	}
	return b.rounds(ctx, Latency, c, spread(reached).Median/2)
}

// calibration is the Measure of turns that only find the rate.
const calibration = "calibration"

// rounds gives each peer its turn in each round, and begins each round with
// the next peer.
func (b *bench) rounds(ctx context.Context, measure string, c Case, rate float64) error {
	for round := range b.o.Rounds {
		for i := range b.peers {
			n := (i + round) % len(b.peers)
			if b.running[n] == nil {
				continue // its failure is told already
			}
			t := Turn{Measure: measure, Case: c.Name, Round: round, Peer: b.peers[n].Name, Rate: rate}
			if err := b.turn(ctx, t, c, b.running[n]); err != nil {
				return err
			}
		}
	}
	return nil
}

// turn makes one turn and keeps it.
func (b *bench) turn(ctx context.Context, t Turn, c Case, p *peer.Process) error {
	b.progress.step(b.turnTime(), c.Name+" "+t.Measure, fmt.Sprintf("round %d of %d, %s", t.Round+1, b.o.Rounds, t.Peer))
	spec := load.Spec{
		Mode: load.Closed, Address: p.Site.Listen, Request: c.Request, Connections: b.o.Connections,
		Warmup: b.o.warmup(), Duration: b.o.Duration,
	}
	if t.Measure == Latency {
		spec.Mode, spec.Rate = load.Open, t.Rate
	}
	var err error
	if spec.PIDs, err = p.PIDs(); err == nil {
		if spec.Known, err = b.backend.PIDs(); err != nil {
			return err // nobody can be measured any more
		}
		t.Result, err = generate(ctx, b.o.Self, spec)
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		t.Failure = err.Error()
	case t.Errors > 0:
		t.Failure = fmt.Sprintf("%d errors in %d requests, such as: %q", t.Errors, t.Requests+t.Errors, t.First)
	}
	if t.Failure != "" {
		b.fail("%s, %s, round %d, %s: %s", t.Case, t.Measure, t.Round+1, t.Peer, t.Failure)
	}
	b.report.Turns = append(b.report.Turns, t)
	return nil
}

// quiet is the share of the machine that others may take before a run is
// called noisy.
const quiet = 0.05

// noise notes what others did meanwhile on the machine.
func (b *bench) noise() {
	var others []float64
	for i := range b.report.Turns {
		others = append(others, b.report.Turns[i].Others)
	}
	if s := spread(others); s.Median > quiet {
		b.report.Notes = append(b.report.Notes, fmt.Sprintf(
			"Others took %.0f %% of the machine's processors in the median turn (%.0f to %.0f %%): throughput and latency are theirs as well; ratios suffer less.",
			s.Median*100, s.Min*100, s.Max*100))
	}
}
