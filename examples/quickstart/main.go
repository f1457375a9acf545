// Quickstart shows the whole mesh on one machine: a control plane, an entry
// gateway, and two services with sidecars beside them. It walks through what a
// mesh is for, in plain words, and checks each step by what the apps themselves
// have counted.
//
//	quickstart              show it, then stay up until Ctrl-C
//	quickstart -once        show it and end: exit code 0 if every check passed, 1 otherwise
//	quickstart app orders   run one of the services alone (LISTEN, INSTANCE, OUTBOUND)
//
// It needs the programs sidecar and controlplane beside itself, nothing else.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/outrigger-mesh/outrigger/examples/internal/shop"
	"github.com/outrigger-mesh/outrigger/examples/quickstart/orders"
	users "github.com/outrigger-mesh/outrigger/examples/quickstart/users-go"
)

// The exit codes, as everywhere in Outrigger.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() {
	os.Exit(start(os.Args[1:])) //nolint:forbidigo // the one place where the program ends
}

func start(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if len(args) > 0 && args[0] == "app" {
		return app(ctx, args[1:])
	}
	return demo(ctx, args)
}

// app runs one of the services.
func app(ctx context.Context, args []string) int {
	env := func(key, otherwise string) string {
		if v := os.Getenv(key); v != "" {
			return v
		}
		return otherwise
	}
	var err error
	switch strings.Join(args, " ") {
	case "orders":
		err = orders.Run(ctx, orders.Config{
			Listen:   env("LISTEN", "127.0.0.1:8081"),
			Instance: env("INSTANCE", "orders-1"),
			Outbound: env("OUTBOUND", "http://127.0.0.1:15001"),
		})
	case "users":
		err = users.Run(ctx, users.Config{
			Listen:   env("LISTEN", "127.0.0.1:9101"),
			Instance: env("INSTANCE", "users-1"),
		})
	default:
		fmt.Fprintln(os.Stderr, "usage: quickstart app orders|users")
		return exitUsage
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitFailed
	}
	return exitOK
}

// demo shows the mesh.
func demo(ctx context.Context, args []string) int {
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	once := flags.Bool("once", false, "end after the last step instead of staying up")
	bin := flags.String("bin", "", "folder of the programs sidecar and controlplane (default: beside this one)")
	keep := flags.Bool("keep", false, "keep the folder with configuration and logs")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return exitOK
		}
		return exitUsage
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "quickstart: unexpected argument %q\n", flags.Arg(0))
		return exitUsage
	}
	out := newReport(os.Stdout)
	folder, err := programs(*bin)
	if err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		return exitFailed
	}
	python := findPython(ctx)
	s, err := shop.New(shop.Options{Name: "quickstart", Bin: folder, Python: python})
	if err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		return exitFailed
	}
	code := show(ctx, s, out, python, *once)
	interrupted := ctx.Err() != nil
	kept := *keep || code != exitOK && !interrupted
	if err := s.Close(kept); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		code = exitFailed
	}
	if kept {
		out.say("Configuration and logs are kept in %s", s.Dir())
	}
	out.verdict(interrupted)
	return code
}

// show goes through the acts and, unless it is only once, stays up.
func show(ctx context.Context, s *shop.Shop, out *report, python string, once bool) int {
	out.headline("Outrigger quickstart: a shop of two services behind a mesh, all on this machine.")
	if python == "" {
		out.say("Python 3 is not installed here: the users service runs as its Go twin.")
	}
	if s.Second() {
		out.say("Another quickstart runs on this machine: this one keeps off the default ports.")
	}
	for _, m := range s.Moved() {
		if s.Second() {
			break // all of them
		}
		out.say("%s is taken: %s listens at %s instead.", m.From, m.Key, m.To)
	}
	a := acts{shop: s, out: out}
	err := a.all(ctx)
	if ctx.Err() != nil {
		return exitFailed
	}
	if err != nil {
		out.fatal(err)
	}
	if len(out.failures) > 0 {
		out.explain(s)
	}
	if !once && err == nil {
		out.invite(s, python)
		<-ctx.Done()
	}
	if len(out.failures) > 0 {
		return exitFailed
	}
	return exitOK
}

// programs finds the folder of the programs and makes sure that they are there.
func programs(dir string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("where this program is: %w", err)
	}
	if dir == "" {
		dir = filepath.Dir(self)
	}
	for _, name := range []string{"sidecar", "controlplane", "quickstart"} {
		if _, err := exec.LookPath(filepath.Join(dir, name)); err != nil {
			return "", fmt.Errorf("the program %s is not in %s: run 'make demo', or name its folder by -bin (%w)", name, dir, err)
		}
	}
	return dir, nil
}

// findPython returns the path of a Python that runs users.py, or "". What is
// called python3 may be a script that picks one, so it is asked where it is.
func findPython(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "python3", "-c",
		"import sys, http.server; assert sys.version_info >= (3, 7); print(sys.executable)").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
