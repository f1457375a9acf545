// Command bench measures what a hop through the sidecar costs, beside what it
// costs through other proxies, on one machine and in one run.
//
//	bench hop [-json] [-rounds N] [-duration D] [-only PEERS] [-out FILE] …
//
// It starts everything itself, on loopback and in a folder that it removes, and
// stops it by itself. See README.md.
package main

import (
	"context"
	"errors"
	"os"
	"runtime"

	"github.com/outrigger-mesh/outrigger/bench/internal/answerer"
	"github.com/outrigger-mesh/outrigger/bench/internal/intree"
	"github.com/outrigger-mesh/outrigger/bench/internal/load"
	"github.com/outrigger-mesh/outrigger/bench/internal/peer"
	"github.com/outrigger-mesh/outrigger/internal/run"
)

func main() {
	// Processes are started from this thread, which is the first one and ends
	// with the process: they are told to end when it does (see peer.Start).
	runtime.LockOSThread()
	run.Main(func(ctx context.Context) error { return start(ctx, os.Args[1:]) })
}

func start(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return run.Usage(errors.New("usage: bench hop [flags]; bench hop -h lists them"))
	}
	switch args[0] {
	case "hop":
		return hopCommand(ctx, args[1:], os.Stdout, os.Stderr)
	case load.Subcommand:
		return load.Main(ctx, os.Stdin, os.Stdout)
	case answerer.Subcommand:
		return answerer.Main(ctx, args[1:])
	case peer.Subcommand:
		return intree.Main(ctx, args[1:])
	default:
		return run.Usage(errors.New("there is no " + args[0] + "; usage: bench hop [flags]"))
	}
}
