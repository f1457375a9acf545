package conformance

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// slowClients are the attacks of slowhttptest: heads, bodies and reads that
// take for ever, and ranges that make work.
var slowClients = map[string][]string{
	"slow heads":  {"-H", "-i", "1", "-t", "GET", "-x", "24"},
	"slow bodies": {"-B", "-i", "1", "-s", "8192", "-t", "POST", "-x", "10"},
	"slow reads":  {"-X", "-w", "1", "-y", "16", "-n", "1", "-z", "8", "-k", "3"},
	"ranges":      {"-R", "-t", "HEAD", "-a", "10", "-b", "3000"},
}

// TestSlowClients lets slowhttptest at a sidecar, all attacks at once, while a
// good client works: it is served without an error, and afterwards no
// connection is left.
func TestSlowClients(t *testing.T) { slow(t, 60, 5) }

// slow attacks with so many connections each, for so many seconds.
func slow(t *testing.T, connections, seconds int) {
	t.Helper()
	if _, err := exec.LookPath("slowhttptest"); err != nil {
		t.Fatalf("internal/testenv/install.sh installs slowhttptest: %v", err)
	}
	var begun atomic.Int64
	app := livingApp(t, &begun)
	p := startProgram(t, fmt.Sprintf(programYAML, app, app, "10ms", "5s"))
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(seconds)*time.Second+patience)
	defer cancel()
	var attacks sync.WaitGroup
	for name, args := range slowClients {
		path := map[string]string{"slow bodies": "/upload", "slow reads": "/large"}[name]
		if path == "" {
			path = "/quick"
		}
		attacks.Go(func() {
			all := append([]string{
				"-c", fmt.Sprint(connections), "-r", fmt.Sprint(min(connections, 60)), "-l", fmt.Sprint(seconds),
				"-u", "http://" + p.at["listen.inbound"] + path, "-p", "3", "-v", "1",
			}, args...)
			var out bytes.Buffer
			cmd := exec.CommandContext(ctx, "slowhttptest", all...)
			cmd.Stdout, cmd.Stderr = &out, &out
			_ = cmd.Run() // its exit code says whether the victim is down, as it sees it
			if !strings.Contains(out.String(), "Exit status") {
				t.Errorf("%s: slowhttptest did not run: %s", name, out.String())
			}
		})
	}
	done := make(chan struct{})
	go func() {
		attacks.Wait()
		close(done)
	}()
	good, most := 0, 0
	kept := dial(t, p.at["listen.inbound"])
	for attacked := true; attacked; good++ {
		select {
		case <-done:
			attacked = false
		case <-time.After(10 * time.Millisecond):
		}
		_ = kept.SetDeadline(time.Now().Add(patience))
		if _, err := quick(kept); err != nil {
			t.Fatalf("the good client's request %d: %v\n%s", good, err, p.log())
		}
		fresh := dial(t, p.at["listen.inbound"])
		if _, err := quick(fresh); err != nil {
			t.Fatalf("the good client's request %d, on a new connection: %v\n%s", good, err, p.log())
		}
		_ = fresh.Close()
		if good%20 == 0 {
			most = max(most, open(t, p))
		}
	}
	_ = kept.Close()
	if most < connections {
		t.Errorf("at most %d connections were open: nobody has attacked", most)
	}
	eventually(t, "no connection is left", func() bool { return open(t, p) == 0 })
	t.Logf("%d rounds of a good client among up to %d connections", good, most)
	p.terminate(t)
	p.wantExit(t)
}

// open is how many connections the inbound listener has.
func open(t *testing.T, p *program) int {
	t.Helper()
	return metric(metricsPage(t, p.at["listen.admin"]), `outrigger_downstream_connections{listener="inbound"}`)
}
