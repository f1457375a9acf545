package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/bench/internal/hop"
	"github.com/outrigger-mesh/outrigger/internal/run"
)

// settings are the flags of bench hop.
type settings struct {
	hop.Options
	json bool
	out  string
	keep bool
}

// errHelp says that help was asked for, and was given.
var errHelp = errors.New("help")

func parse(args []string, help io.Writer) (settings, error) {
	var s settings
	flags := flag.NewFlagSet("bench hop", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // an error is told once, by the caller
	list := func(name, usage string, to *[]string) {
		flags.Func(name, usage, func(v string) error {
			for n := range strings.SplitSeq(v, ",") {
				if n = strings.TrimSpace(n); n != "" {
					*to = append(*to, n)
				}
			}
			return nil
		})
	}
	list("only", "peers that take part, as `a,b`; the one that ratios are to always does (default: all)", &s.Only)
	list("cases", "kinds of request, as `a,b`: "+strings.Join(hop.CaseNames(), ", ")+" (default: all)", &s.Cases)
	list("measure", "what is measured, as `a,b`: "+strings.Join(hop.Measures(), ", ")+" (default: all)", &s.Measures)
	flags.IntVar(&s.Rounds, "rounds", 5, "rounds of each case, over which medians are taken")
	flags.DurationVar(&s.Duration, "duration", 2*time.Second, "of a peer's turn in a round")
	flags.IntVar(&s.Connections, "connections", 64, "of the load; of HTTP/2 a quarter of it, with 16 streams each")
	flags.IntVar(&s.Idle, "idle", 10_000, "connections that are held open for their memory")
	flags.StringVar(&s.Sidecar, "binary", "", "`path` of a built sidecar (default: it is built from this module)")
	flags.StringVar(&s.Base, "base", "", "`path` of another build of it, which takes part as sidecar-base and sidecar-base-chain")
	flags.BoolVar(&s.json, "json", false, "write the report as JSON, with every turn")
	flags.StringVar(&s.out, "out", "", "`file` for the report as JSON, besides what is printed")
	flags.BoolVar(&s.keep, "keep", false, "keep the folder with the peers' configuration and logs, and say where it is")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintln(help, "usage: bench hop [flags]")
		flags.SetOutput(help)
		flags.PrintDefaults()
		return s, errHelp
	case err != nil:
		return s, run.Usage(err)
	case flags.NArg() > 0:
		return s, run.Usage(fmt.Errorf("unexpected argument %q; bench hop has flags only", flags.Arg(0)))
	}
	if err := s.Options.Validate(); err != nil {
		return s, run.Usage(err)
	}
	for _, path := range []*string{&s.Sidecar, &s.Base} {
		if *path == "" {
			continue
		}
		// Absolute, since peers run in folders of their own.
		absolute, err := filepath.Abs(*path)
		if err != nil {
			return s, err
		}
		if _, err := exec.LookPath(absolute); err != nil {
			return s, run.Usage(fmt.Errorf("not a program: %w", err))
		}
		*path = absolute
	}
	return s, nil
}

// hopCommand is bench hop. Its error has exit code 1 where something did not
// run; targets that are missed are no error.
func hopCommand(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	s, err := parse(args, stdout)
	if errors.Is(err, errHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if s.Dir, err = os.MkdirTemp("", "outrigger-bench-"); err != nil {
		return err
	}
	defer func() {
		if s.keep {
			fmt.Fprintln(stderr, "configuration and logs are in", s.Dir)
			return
		}
		err = errors.Join(err, os.RemoveAll(s.Dir))
	}()
	if err := os.Chmod(s.Dir, 0o755); err != nil { // workers of another user read it
		return err
	}
	if s.Self, err = os.Executable(); err != nil {
		return err
	}
	s.Progress, s.Terminal = stderr, isTerminal(stderr)
	if s.Sidecar == "" && s.NeedsSidecar() {
		s.Sidecar = filepath.Join(s.Dir, "bin", "sidecar") // the peers have folders beside it
		if err := build(ctx, s.Sidecar, stderr); err != nil {
			return err
		}
	}
	report, err := hop.Run(ctx, s.Options)
	if err != nil {
		return err
	}
	if err := write(report, s, stdout); err != nil {
		return err
	}
	if n := len(report.Failures); n > 0 {
		return fmt.Errorf("%d failures, the first: %s", n, report.Failures[0])
	}
	return nil
}

// build builds the sidecar as make build does.
func build(ctx context.Context, to string, stderr io.Writer) error {
	fmt.Fprintln(stderr, "building the sidecar")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", to, "github.com/outrigger-mesh/outrigger/sidecar")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build of the sidecar: %w (run this in the module, or name a built one with -binary)\n%s", err, out)
	}
	return nil
}

func write(r *hop.Report, s settings, stdout io.Writer) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if s.out != "" {
		if err := os.WriteFile(s.out, text, 0o644); err != nil {
			return err
		}
	}
	if s.json {
		_, err = stdout.Write(text)
		return err
	}
	return r.Text(stdout)
}

// isTerminal tells whether somebody watches.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
