// Command quickstart shows the whole mesh on one machine: a control plane, an entry
// gateway, and four services in four languages with sidecars beside them. It
// walks through what a mesh is for, in plain words, and checks each step by what
// the apps themselves have counted.
//
//	quickstart              show it, then stay up until Ctrl-C
//	quickstart -once        show it and end: exit code 0 if every check passed, 1 otherwise
//	quickstart app orders   run one of the services alone (LISTEN, INSTANCE, OUTBOUND)
//
// It needs the programs sidecar, controlplane and cmdb-sync beside itself. A
// language that is not installed is named, and replaced by Go.
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

	"github.com/outrigger-mesh/outrigger/examples/internal/shop"
	"github.com/outrigger-mesh/outrigger/examples/quickstart/orders"
	"github.com/outrigger-mesh/outrigger/examples/quickstart/twins"
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
	defaults := map[string]string{"orders": "127.0.0.1:8081", "users": "127.0.0.1:9101", "catalog": "127.0.0.1:9201", "promo": "127.0.0.1:9301"}
	service := strings.Join(args, " ")
	if defaults[service] == "" {
		fmt.Fprintln(os.Stderr, "usage: quickstart app orders|users|catalog|promo")
		return exitUsage
	}
	listen, instance := env("LISTEN", defaults[service]), env("INSTANCE", service+"-1")
	var err error
	if service == "orders" {
		err = orders.Run(ctx, orders.Config{Listen: listen, Instance: instance, Outbound: env("OUTBOUND", "http://127.0.0.1:15001")})
	} else {
		err = twins.Run(ctx, twins.Config{Service: service, Listen: listen, Instance: instance})
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
	bin := flags.String("bin", "", "folder of the programs sidecar, controlplane and cmdb-sync (default: beside this one)")
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
	found, missing := shop.FindLanguages(ctx)
	s, err := shop.New(shop.Options{Name: "quickstart", Bin: folder, Languages: found})
	if err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		return exitFailed
	}
	code := show(ctx, s, out, missing, *once)
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
func show(ctx context.Context, s *shop.Shop, out *report, missing []shop.Language, once bool) int {
	out.headline("Outrigger quickstart: a shop of four services behind a mesh, all on this machine.")
	for _, l := range missing {
		out.say("%s is not installed here (Debian has it in %s): the service %s runs as its Go twin.", l.Name, l.Package, l.Service)
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
		out.invite(s)
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
	for _, name := range []string{"sidecar", "controlplane", "cmdb-sync", "quickstart"} {
		if _, err := exec.LookPath(filepath.Join(dir, name)); err != nil {
			return "", fmt.Errorf("the program %s is not in %s: run 'make demo', or name its folder by -bin (%w)", name, dir, err)
		}
	}
	return dir, nil
}
