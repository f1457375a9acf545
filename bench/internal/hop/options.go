package hop

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/bench/internal/peer"
)

// What is measured.
const (
	Throughput = "throughput" // requests/s and processor time, as fast as it goes
	Latency    = "latency"    // at half of the throughput of the peer that ratios are to
	Memory     = "memory"     // idle, after the run, with connections on which nothing happens
)

// Measures are all that can be measured, in their order.
func Measures() []string { return []string{Throughput, Latency, Memory} }

// Options are how a run is made.
type Options struct {
	Rounds      int
	Duration    time.Duration // of a turn, without its warm-up
	Connections int           // of the load
	Idle        int           // connections for the memory they take
	Only        []string      // names of peers; empty: all
	Cases       []string      // names of cases; empty: all
	Measures    []string      // of Measures; empty: all

	Settle time.Duration // between two looks at memory that is to come to rest; 0: settleEvery

	Self    string // the program that has the subcommands load and proxy
	Sidecar string // path of the sidecar's program
	Base    string // path of another build of it; empty: none
	Dir     string // where the peers have their files; exists

	Progress io.Writer // what runs now, for people
	Terminal bool      // Progress is one: a line may be written over
}

// warmup is how long a turn runs before it is measured: long enough for
// connections and caches, and no longer than what is measured.
func (o Options) warmup() time.Duration {
	return min(max(o.Duration/2, 100*time.Millisecond), 500*time.Millisecond)
}

// peers are those that take part: those that ratios are to always do, in the
// cases that have them.
func (o Options) peers() ([]peer.Peer, error) {
	all := []peer.Peer{
		peer.Nginx(),
		peer.Sidecar(sidecar, o.Sidecar),
		peer.SidecarChain(sidecarChain, o.Sidecar),
		peer.NginxChain(),
		peer.HAProxy(),
		peer.Caddy(),
		peer.ReverseProxy(o.Self),
		peer.FastHTTP(o.Self),
	}
	if o.Base != "" {
		all = slices.Insert(all, 3, peer.Sidecar("sidecar-base", o.Base), peer.SidecarChain("sidecar-base-chain", o.Base))
	}
	cases, err := o.cases()
	if err != nil {
		return nil, err
	}
	var always []string
	for _, c := range cases {
		always = append(always, c.Base)
	}
	return choose("peer", all, func(p peer.Peer) string { return p.Name }, o.Only, always...)
}

// takesPart tells whether a peer does in a case.
func (o Options) takesPart(p peer.Peer, c Case) bool {
	return p.Can(c.Setup) && (len(o.Only) == 0 || slices.Contains(o.Only, p.Name) || p.Name == c.Base)
}

// NeedsSidecar tells whether Sidecar is run at all.
func (o Options) NeedsSidecar() bool {
	return len(o.Only) == 0 || slices.Contains(o.Only, sidecar) || slices.Contains(o.Only, sidecarChain)
}

func (o Options) cases() ([]Case, error) {
	return choose("case", Cases(), func(c Case) string { return c.Name }, o.Cases)
}

// choose is those of all that are named, in the order of all; all of them
// where none is. always are taken in any case.
func choose[T any](what string, all []T, name func(T) string, named []string, always ...string) ([]T, error) {
	var known []string
	for _, t := range all {
		known = append(known, name(t))
	}
	for _, n := range named {
		if !slices.Contains(known, n) {
			return nil, fmt.Errorf("there is no %s %q; there are: %s", what, n, strings.Join(known, ", "))
		}
	}
	if len(named) == 0 {
		return all, nil
	}
	var chosen []T
	for _, t := range all {
		if slices.Contains(named, name(t)) || slices.Contains(always, name(t)) {
			chosen = append(chosen, t)
		}
	}
	return chosen, nil
}

func (o Options) measures(what string) bool {
	return len(o.Measures) == 0 || slices.Contains(o.Measures, what)
}

// Validate says which options make no benchmark.
func (o Options) Validate() error {
	var errs []error
	between := func(name string, n, least, most int) {
		if n < least || n > most {
			errs = append(errs, fmt.Errorf("-%s must be from %d to %d, is %d", name, least, most, n))
		}
	}
	between("rounds", o.Rounds, 1, 1000)
	between("connections", o.Connections, 1, 10_000)
	between("idle", o.Idle, 1, 50_000)
	if o.Duration < 100*time.Millisecond || o.Duration > 5*time.Minute {
		errs = append(errs, fmt.Errorf("-duration must be from 100ms to 5m, is %v", o.Duration))
	}
	_, err := o.cases()
	errs = append(errs, err)
	if err == nil {
		_, err = o.peers()
		errs = append(errs, err)
	}
	_, err = choose("measure", Measures(), func(s string) string { return s }, o.Measures)
	return errors.Join(append(errs, err)...)
}
