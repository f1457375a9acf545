package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/outrigger-mesh/outrigger/examples/internal/lab"
	"github.com/outrigger-mesh/outrigger/examples/internal/shop"
)

// report is what the demo tells on the terminal, and the checks it has made.
type report struct {
	out      io.Writer
	colour   bool
	step     int
	passed   int
	failures []string
	culprits []*lab.Process // whose logs are worth a look
}

// The colours, used on a terminal only.
const (
	bold  = "1"
	green = "32"
	red   = "31"
	faint = "2"
)

// widest is how much of a line is quoted, in bytes.
const widest = 600

func newReport(f *os.File) *report {
	st, err := f.Stat()
	return &report{
		out:    f,
		colour: err == nil && st.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
	}
}

func (r *report) paint(code, text string) string {
	if !r.colour {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (r *report) print(line string) { _, _ = fmt.Fprintln(r.out, line) }

func (r *report) headline(text string) { r.print(r.paint(bold, text)) }

// act begins the next step.
func (r *report) act(title string) {
	r.step++
	r.print("")
	r.print(r.paint(bold, fmt.Sprintf("%d. %s", r.step, title)))
}

// say tells what is being done.
func (r *report) say(format string, args ...any) {
	r.print("   " + fmt.Sprintf(format, args...))
}

// quote shows what a program said.
func (r *report) quote(text string) {
	for line := range strings.Lines(strings.TrimSpace(text)) {
		line = strings.TrimRight(line, "\n")
		if len(line) > widest {
			line = line[:widest] + "…"
		}
		r.print(r.paint(faint, "   | "+line))
	}
}

// check notes whether what holds, and what was seen.
func (r *report) check(holds bool, what, seenFormat string, seen ...any) {
	saw := fmt.Sprintf(seenFormat, seen...)
	if holds {
		r.passed++
		r.print("   " + r.paint(green, "ok    ") + what + r.paint(faint, " ("+saw+")"))
		return
	}
	r.failures = append(r.failures, what+": "+saw)
	r.print("   " + r.paint(red, "FAILED ") + what + ": " + saw)
}

// fatal notes why the rest could not be shown.
func (r *report) fatal(err error) {
	r.failures = append(r.failures, err.Error())
	r.print("   " + r.paint(red, "FAILED ") + err.Error())
	if pe := (*shop.ProcessError)(nil); errors.As(err, &pe) {
		r.culprits = append(r.culprits, pe.Process)
	}
}

// explain shows the ends of the logs that may tell why something failed: of the
// process that is to blame, if one is, else a few lines of each.
func (r *report) explain(s *shop.Shop) {
	logs, lines := r.culprits, 15
	if len(logs) == 0 {
		logs, lines = s.Processes(), 4
	}
	seen := map[string]bool{}
	for _, p := range logs {
		if p == nil || seen[p.Log] {
			continue
		}
		seen[p.Log] = true
		r.print("")
		r.print(r.paint(bold, "The end of "+p.Log+":"))
		r.quote(p.Tail(lines))
	}
}

// invite tells what can be done while the mesh stays up.
func (r *report) invite(s *shop.Shop) {
	r.print("")
	r.headline("The mesh stays up until Ctrl-C. Worth a look:")
	row := func(what, where string) { r.print(fmt.Sprintf("   %-24s %s", what, where)) }
	row("a request", fmt.Sprintf("curl -H 'Host: %s' http://%s/orders/1", shop.Host, s.Addr("gateway")))
	row("as orders calls users", fmt.Sprintf("curl -H 'Host: users' http://%s/users/1", s.Addr("orders-1 outbound")))
	row("the gateway", "http://"+s.Addr("gateway admin")+"/")
	row("the sidecar of orders", "http://"+s.Addr("orders-1 admin")+"/config")
	row("its metrics", "http://"+s.Addr("orders-1 admin")+"/metrics")
	row("the control plane", "http://"+s.Addr("control plane api")+"/v1/services")
	row("registered endpoints", "http://"+s.Addr("control plane api")+"/v1/endpoints")
	row("machines of the CMDB", "http://"+s.Addr("control plane api")+"/v1/hosts")
	row("configuration and logs", s.Dir())
	r.say("Edit hosts.csv, middleware.yaml or objects/shop.yaml there: a saved file is in force within a second.")
}

// verdict is the last line.
func (r *report) verdict(interrupted bool) {
	r.print("")
	switch n := len(r.failures); {
	case n > 0:
		r.print(r.paint(red, fmt.Sprintf("demo: %d of %d checks failed", n, n+r.passed)))
		for _, f := range r.failures {
			r.print("  - " + f)
		}
	case interrupted && r.step < lastAct:
		r.print("demo: interrupted; nothing is left behind")
	default:
		r.print(r.paint(green, fmt.Sprintf("demo: %d checks passed", r.passed)))
	}
}
