package examples_test

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/examples/internal/lab"
	"github.com/outrigger-mesh/outrigger/examples/internal/shop"
)

// passed is the demo's last line.
var passed = regexp.MustCompile(`(?m)^demo: (\d+) checks passed\n\z`)

// TestQuickstartChecksItself runs the demo twice at once, on the default ports
// and beside them; one of the two finds no language but Go.
func TestQuickstartChecksItself(t *testing.T) {
	first := startDemo(t, nil, "-once")
	second := startDemo(t, []string{"PATH=/nonexistent"}, "-once", "--keep")
	for name, d := range map[string]*demo{"first": first, "second, with Go alone": second} {
		<-d.done
		out := d.out.String()
		m := passed.FindStringSubmatch(out)
		if m == nil || d.cmd.ProcessState.ExitCode() != 0 {
			t.Errorf("%s: %s\n%s", name, d.cmd.ProcessState, out)
			continue
		}
		if n, err := strconv.Atoi(m[1]); err != nil || n < 35 || n != strings.Count(out, "   ok    ") {
			t.Errorf("%s: %s checks passed, %d were shown:\n%s", name, m[1], strings.Count(out, "   ok    "), out)
		}
		for _, want := range []string{
			"gateway -> orders-1 -> users-",
			"one trace id in the access logs of the gateway and of all four",
			"no request failed",
			"all of it goes to the instance in the own zone",
			"catalog-1 gets no more requests",
			"back in service it takes them again",
			"orders saw no more than the limit lets through",
			"its circuit has opened",
			"its circuit has closed",
			"the new limit is in force",
			"a mistake changes nothing, and is named with its place (middleware.yaml:",
			"without a control plane no request failed",
			"users-3 joined the traffic",
			"the endpoints of users never shrank",
			"it was deregistered, not merely lost",
		} {
			if !strings.Contains(out, want) {
				t.Errorf("%s: the output lacks %q:\n%s", name, want, out)
			}
		}
		if strings.Contains(out, "\x1b") {
			t.Errorf("%s: colours where there is no terminal", name)
		}
		left := d.leftovers(t)
		if d == second {
			left = kept(t, d, left)
		}
		if len(left) > 0 {
			t.Errorf("%s: left behind: %v", name, left)
		}
	}
	// internal/testenv/install.sh installs what the first one needs.
	if out := first.out.String(); strings.Contains(out, "Go twin") {
		t.Errorf("a language was replaced:\n%s", out)
	}
	for _, twin := range []string{
		"Python is not installed here (Debian has it in python3): the service users runs as its Go twin",
		"Node.js is not installed here (Debian has it in nodejs): the service catalog runs as its Go twin",
		"PHP is not installed here (Debian has it in php-cli): the service promo runs as its Go twin",
	} {
		if !strings.Contains(second.out.String(), twin) {
			t.Errorf("the demo with Go alone does not say: %s", twin)
		}
	}
}

// kept makes sure that the demo's folder, one of what it has left, holds all
// configuration files that were used, and that they are right as they are. It
// returns what else is left.
func kept(t *testing.T, d *demo, left []string) []string {
	t.Helper()
	i := slices.IndexFunc(left, func(name string) bool { return strings.HasPrefix(name, "outrigger-quickstart-") })
	if i < 0 {
		t.Errorf("no folder was kept, but %v", left)
		return left
	}
	dir := filepath.Join(d.tmp, left[i])
	if !strings.Contains(d.out.String(), "are kept in "+dir) {
		t.Error("the demo does not say which folder it has kept")
	}
	checks := [][]string{{"controlplane", "check", "-c", "controlplane.yaml"}, {"cmdb-sync", "validate", "-c", "cmdb-sync.yaml"}}
	sidecars, err := filepath.Glob(filepath.Join(dir, "*.sidecar.yaml"))
	if err != nil || len(sidecars) != 8 {
		t.Errorf("%d configurations of sidecars are kept; %v", len(sidecars), err)
	}
	for _, file := range sidecars {
		checks = append(checks, []string{"sidecar", "check", "-c", filepath.Base(file)})
	}
	for _, c := range checks {
		if stdout, stderr, code := program(t, dir, c[0], c[1:]...); code != 0 {
			t.Errorf("%v in the kept folder: exit code %d\n%s%s", c, code, stdout, stderr)
		}
	}
	return slices.Delete(left, i, i+1)
}

// TestQuickstartMovesAwayFromAPortInUse occupies a default port. Where another
// quickstart runs on this machine, the demo keeps off all of them anyway.
func TestQuickstartMovesAwayFromAPortInUse(t *testing.T) {
	if ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:15406"); err == nil {
		defer func() { _ = ln.Close() }()
	}
	d := startDemo(t, nil)
	within(t, time.Minute, func(context.Context) error {
		if out := d.out.String(); !strings.Contains(out, "the first answers came") {
			return fmt.Errorf("the demo has not started:\n%s", out)
		}
		return nil
	})
	if out := d.out.String(); !strings.Contains(out, "127.0.0.1:15406 is taken: catalog-1 inbound listens at 127.0.0.1:") &&
		!strings.Contains(out, "Another quickstart runs on this machine") {
		t.Errorf("output:\n%s", out)
	}
	if err := d.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	<-d.done
	if left := d.leftovers(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestInterruptLeavesNothingBehind(t *testing.T) {
	tests := []struct {
		name, at string
		signal   syscall.Signal
	}{
		{"at the start", "control plane  xDS", syscall.SIGINT},
		{"while it starts", "catalog-1      app at", syscall.SIGHUP},
		{"with cmdb-sync", "the machine of catalog-1, is set to maintenance", syscall.SIGINT},
		{"amid traffic", "in the middle of it SIGKILL", syscall.SIGTERM},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := startDemo(t, nil)
			within(t, time.Minute, func(context.Context) error {
				if out := d.out.String(); !strings.Contains(strings.ToLower(out), strings.ToLower(tt.at)) {
					return fmt.Errorf("the demo has not come to %q:\n%s", tt.at, out)
				}
				return nil
			})
			if err := d.cmd.Process.Signal(tt.signal); err != nil {
				t.Fatal(err)
			}
			select {
			case <-d.done:
			case <-time.After(20 * time.Second):
				t.Fatalf("the demo still runs:\n%s", d.out.String())
			}
			if out := d.out.String(); !strings.HasSuffix(out, "demo: interrupted; nothing is left behind\n") {
				t.Errorf("output:\n%s", out)
			}
			if left := d.leftovers(t); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestQuickstartSaysWhatItLacks(t *testing.T) {
	_, stderr, code := program(t, t.TempDir(), "quickstart", "-once", "-bin", t.TempDir())
	if code != 1 || !strings.Contains(stderr, "the program sidecar is not in ") {
		t.Errorf("without programs: code %d: %s", code, stderr)
	}
	if _, stderr, code = program(t, t.TempDir(), "quickstart", "-twice"); code != 2 || !strings.Contains(stderr, "-twice") {
		t.Errorf("unknown flag: code %d: %s", code, stderr)
	}
}

// TestControlPlaneMayDieAmidTraffic kills the control plane twice and restarts
// it, under more traffic than the demo has.
func TestControlPlaneMayDieAmidTraffic(t *testing.T) {
	const rate = 200
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	s, err := shop.New(shop.Options{Name: "e2e", Bin: bin, Alone: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if t.Failed() {
			for _, p := range s.Processes() {
				if p != nil {
					t.Logf("the end of the log of %s:\n%s", p.Name, p.Tail(10))
				}
			}
		}
		if err := s.Close(false); err != nil {
			t.Error(err)
		}
	}()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.StartControlPlane(ctx))
	for service, names := range map[string][]string{
		"orders": {"orders-1"}, "users": {"users-1", "users-2", "users-3"}, "catalog": {"catalog-1"}, "promo": {"promo-1"},
	} {
		for _, name := range names {
			_, err := s.Start(ctx, service, name)
			must(err)
		}
	}
	must(s.StartGateway(ctx))
	must(s.AwaitAnswers(ctx, 20*time.Second, "users-1", "users-2", "users-3"))
	must(s.AwaitEndpoints(ctx, 10*time.Second, "users-1", "users-2", "users-3"))

	before, err := s.Requests(ctx, "orders-1")
	must(err)
	watch := s.WatchEndpoints(ctx)
	traffic := lab.StartTraffic(ctx, s.Load(rate))
	sent := func(n int) {
		t.Helper()
		until := traffic.Result().Sent + n
		within(t, 30*time.Second, func(context.Context) error {
			if res := traffic.Result(); res.Sent < until {
				return fmt.Errorf("%d of %d requests were sent", res.Sent, until)
			}
			return nil
		})
	}
	for range 2 {
		sent(rate)
		s.ControlPlane.Kill()
		sent(2 * rate)
		must(s.StartControlPlane(ctx))
		must(s.AwaitRegistrations(ctx, 20*time.Second, 6))
		sent(rate)
	}
	res := traffic.Stop()
	fewest, samples, err := watch.Stop()
	must(err)
	after, err := s.Requests(ctx, "orders-1")
	must(err)

	if res.Failed > 0 || res.Sent < 8*rate {
		t.Errorf("%d of %d requests failed: %q", res.Failed, res.Sent, res.Failures)
	}
	if after-before != res.Sent {
		t.Errorf("orders counted %d requests, %d were sent", after-before, res.Sent)
	}
	if len(fewest) != 3 || samples < 100 {
		t.Errorf("the fewest endpoints in %d samples were %v, want always 3", samples, fewest)
	}
	connected(t, s)
}

// connected makes sure that the sidecars have found the restarted control
// plane: an instance that leaves now is gone a moment later.
func connected(t *testing.T, s *shop.Shop) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := s.Instance("users-2").Sidecar.Terminate(ctx); err != nil {
		t.Error(err)
	}
	if err := s.AwaitEndpoints(ctx, 10*time.Second, "users-1", "users-3"); err != nil {
		t.Error(err)
	}
}
