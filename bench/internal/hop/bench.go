// Package hop is the benchmark of one hop: the sidecar and other proxies,
// side by side on one machine and in one run, between the same load generator and
// the same backend.
//
// Peers take turns. For each kind of request there are several rounds; within a
// round each peer has its turn of a few seconds, in an order that is rotated
// from round to round, and its figure is divided by that of bare nginx (of HAProxy
// where HTTP/2 is spoken on both sides) in the same round. So what the machine does meanwhile falls on all of them, and the
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
	"github.com/outrigger-mesh/outrigger/bench/internal/procfs"
)

// calibrations is how many turns of the base find the rate where throughput is
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

	certificate  peer.Certificate
	backend      *peer.Process
	backendHTTP2 *peer.Process    // of the setup that is measured; nil without HTTP/2
	running      []*peer.Process  // as peers, in that setup; nil where one did not start or does not take part
	after        []*procfs.Memory // as peers: memory after the turns of HTTP/1.1
	broken       map[string]bool  // peers that did not start, by setup and name
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
	if o.measures(Throughput) || o.measures(Latency) {
		for cases := range slices.Values(bySetup(b.cases)) {
			if err := b.measureSetup(ctx, cases); err != nil {
				return nil, err
			}
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

// bySetup is the cases, those of each setup together.
func bySetup(cases []Case) [][]Case {
	var all [][]Case
	for _, c := range cases {
		if n := len(all); n > 0 && all[n-1][0].Setup == c.Setup {
			all[n-1] = append(all[n-1], c)
		} else {
			all = append(all, []Case{c})
		}
	}
	return all
}

// start starts the backend and asks all peers for their versions.
func (b *bench) start(ctx context.Context) (err error) {
	b.running, b.after, b.broken = make([]*peer.Process, len(b.peers)), make([]*procfs.Memory, len(b.peers)), map[string]bool{}
	if b.certificate, err = peer.MakeCertificate(b.o.Dir); err != nil {
		return fmt.Errorf("certificate: %w", err)
	}
	if b.backend, err = b.launch(ctx, peer.Backend(), "backend", peer.Site{}); err != nil {
		return err
	}
	for _, p := range b.peers {
		version, err := p.Version(ctx)
		if err != nil {
			version = "unknown"
			b.fail("%v", err)
		}
		b.report.Peers = append(b.report.Peers, PeerInfo{Name: p.Name, What: p.What, Version: version})
	}
	return nil
}

// open starts what a setup's cases need: their peers, and the backend of HTTP/2.
func (b *bench) open(ctx context.Context, cases []Case) (err error) {
	setup := cases[0].Setup
	if setup.HTTP2() {
		if b.backendHTTP2, err = b.launch(ctx, peer.BackendHTTP2(b.o.Self), "backend-"+string(setup), peer.Site{Setup: setup.Behind()}); err != nil {
			return err
		}
	}
	for i, p := range b.peers {
		if !slices.ContainsFunc(cases, func(c Case) bool { return b.o.takesPart(p, c) }) {
			continue
		}
		b.progress.step(0, "starting for "+string(setup), p.Name)
		b.running[i], err = b.launch(ctx, p, p.Name+"-"+string(setup), b.site(setup))
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			b.broken[string(setup)+p.Name] = true
			b.fail("%v", err)
		}
	}
	return nil
}

// site is where a peer of a setup is to run, but for its own addresses.
func (b *bench) site(setup peer.Setup) peer.Site {
	s := peer.Site{Setup: setup, Certificate: b.certificate, Backend: b.backend.Site.Listen}
	if b.backendHTTP2 != nil {
		s.BackendHTTP2 = b.backendHTTP2.Site.Listen
	}
	return s
}

// shut stops what open has started.
func (b *bench) shut() error {
	var errs []error
	for i, p := range b.running {
		if p != nil {
			errs = append(errs, p.Stop())
		}
		b.running[i] = nil
	}
	if b.backendHTTP2 != nil {
		errs = append(errs, b.backendHTTP2.Stop())
		b.backendHTTP2 = nil
	}
	return errors.Join(errs...)
}

func (b *bench) launch(ctx context.Context, p peer.Peer, folder string, s peer.Site) (*peer.Process, error) {
	s.Dir, s.Connections = filepath.Join(b.o.Dir, folder), max(b.idle+pendingConnections, b.o.Connections)
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
	err := b.shut()
	if b.backend != nil {
		err = errors.Join(err, b.backend.Stop())
	}
	return err
}

func (b *bench) fail(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	b.report.Failures = append(b.report.Failures, text)
	b.progress.say("failed: %s", text)
}

// estimate is how long all of it takes.
func (b *bench) estimate() {
	turns := 0
	for _, c := range b.cases {
		rounds := 0
		for _, m := range []string{Throughput, Latency} {
			if b.o.measures(m) {
				rounds += b.o.Rounds
			}
		}
		if !b.o.measures(Throughput) && b.o.measures(Latency) {
			turns += calibrations
		}
		for _, p := range b.peers {
			if b.o.takesPart(p, c) {
				turns += rounds
			}
		}
	}
	b.progress.left = time.Duration(turns) * b.turnTime()
	if b.o.measures(Memory) {
		b.progress.left += time.Duration(len(b.memories())) * memoryTime
	}
}

func (b *bench) turnTime() time.Duration { return b.o.Duration + b.o.warmup() + overhead }

// measureSetup makes all rounds of a setup's cases.
func (b *bench) measureSetup(ctx context.Context, cases []Case) error {
	if err := b.open(ctx, cases); err != nil {
		return err
	}
	for _, c := range cases {
		if err := b.measure(ctx, c); err != nil {
			return err
		}
	}
	if cases[0].Setup == peer.HTTP1 && b.o.measures(Memory) {
		b.readAfter()
	}
	return b.shut()
}

// measure makes all rounds of a case: throughput first, since latency is
// measured at half of what the base has reached in it.
func (b *bench) measure(ctx context.Context, c Case) error {
	of := slices.IndexFunc(b.peers, func(p peer.Peer) bool { return p.Name == c.Base })
	if of < 0 || b.running[of] == nil {
		b.fail("%s: without %s there is nothing to compare with", c.Name, c.Base)
		return nil
	}
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
			if err := b.turn(ctx, Turn{Measure: calibration, Case: c.Name, Round: round, Peer: c.Base}, c, b.running[of]); err != nil {
				return err
			}
		}
	}
	var reached []float64
	for i := range b.report.Turns[first:] {
		if t := &b.report.Turns[first+i]; t.Peer == c.Base && t.Failure == "" {
			reached = append(reached, t.perSecond())
		}
	}
	if len(reached) == 0 {
		b.fail("%s: no turn of %s counts, so there is no rate to measure latency at", c.Name, c.Base)
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
			if b.running[n] == nil || !b.o.takesPart(b.peers[n], c) {
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
	spec := c.spec(load.Closed, p.Site, b.o.Connections)
	spec.Warmup, spec.Duration = b.o.warmup(), b.o.Duration
	if t.Measure == Latency {
		spec.Mode, spec.Rate = load.Open, t.Rate
	}
	var err error
	if spec.PIDs, err = p.PIDs(); err == nil {
		if spec.Known, err = b.known(); err != nil {
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

// known are the processes of the backends.
func (b *bench) known() ([]int, error) {
	pids, err := b.backend.PIDs()
	if err != nil || b.backendHTTP2 == nil {
		return pids, err
	}
	more, err := b.backendHTTP2.PIDs()
	return append(pids, more...), err
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
