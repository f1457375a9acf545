package job_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/job"
)

// start runs a job until the test ends.
func (d *desk) start() {
	d.t.Helper()
	j := d.job(job.Options{})
	ctx, cancel := context.WithCancel(d.t.Context())
	done := make(chan error, 1)
	go func() { done <- j.Run(ctx) }()
	d.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			d.t.Errorf("the loop ended with %v", err)
		}
	})
}

func (d *desk) status(name string) any { return d.cp.Host(name, "spec", "status") }

func TestMaintenanceTakesEffectWithinTwoSecondsAndEnds(t *testing.T) {
	d := newDesk(t)
	d.start()
	until(t, 5*time.Second, "the machines are there", func() bool { return d.status("idc-1") == "up" })
	d.machines("1,vm-1,bj-1,maintenance", "2,vm-2,bj-2,active")
	until(t, 2*time.Second, "idc-1 drains", func() bool { return d.status("idc-1") == "draining" })
	d.machines("1,vm-1,bj-1,active", "2,vm-2,bj-2,active")
	until(t, 2*time.Second, "idc-1 is back", func() bool { return d.status("idc-1") == "up" })
	if got := d.status("idc-2"); got != "up" {
		t.Errorf("idc-2 is %v", got)
	}
}

func TestLoopOutlivesItsFile(t *testing.T) {
	d := newDesk(t)
	d.start()
	until(t, 5*time.Second, "the machines are there", func() bool { return d.status("idc-1") == "up" })
	revision := d.cp.Revision()
	if err := os.Remove(d.path("hosts.csv")); err != nil {
		t.Fatal(err)
	}
	until(t, 5*time.Second, "it is said", func() bool { return strings.Contains(d.log.String(), "the mesh keeps what it has") })
	if d.cp.Revision() != revision {
		t.Error("the hosts changed without a source")
	}
	d.machines("1,vm-1,bj-1,active", "2,vm-2,bj-2,maintenance")
	until(t, 5*time.Second, "the file is back", func() bool { return d.status("idc-2") == "draining" })
}

func TestLoopOutlivesTheControlPlane(t *testing.T) {
	d := newDesk(t)
	var down atomic.Bool
	down.Store(true)
	d.cp.Before(func(w http.ResponseWriter, _ *http.Request) bool {
		if down.Load() {
			w.Header().Set("Retry-After", "3600") // not to be tried again in this run
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return down.Load()
	})
	d.start()
	until(t, 5*time.Second, "it is said", func() bool { return strings.Contains(d.log.String(), "answers 503") })
	down.Store(false)
	until(t, 10*time.Second, "the machines are there", func() bool { return d.status("idc-1") == "up" })
}

func TestBlockedPlanIsSaidOnceAndTheLoopGoesOn(t *testing.T) {
	d := newDesk(t)
	d.machines("1,vm-1,a,active", "2,vm-2,a,active", "3,vm-3,a,active", "4,vm-4,a,active")
	d.start()
	until(t, 5*time.Second, "the machines are there", func() bool { return d.status("idc-4") == "up" })
	d.machines("1,vm-1,a,active")
	until(t, 5*time.Second, "it is blocked", func() bool { return strings.Contains(d.log.String(), "rule=maxRemove") })
	d.machines("1,vm-1,a,active") // the same again
	d.machines("1,vm-1,a,maintenance", "2,vm-2,a,active", "3,vm-3,a,active", "4,vm-4,a,active")
	until(t, 5*time.Second, "it goes on", func() bool { return d.status("idc-1") == "draining" })
	if n := strings.Count(d.log.String(), "rule=maxRemove"); n != 1 {
		t.Errorf("it was said %d times", n)
	}
	if d.status("idc-4") != "up" {
		t.Errorf("idc-4 is %v", d.status("idc-4"))
	}
}

func TestRunEndsInTheMiddleOfARequest(t *testing.T) {
	d := newDesk(t)
	asked, release := make(chan struct{}, 100), make(chan struct{})
	d.cp.Before(func(_ http.ResponseWriter, r *http.Request) bool {
		asked <- struct{}{}
		select {
		case <-release:
		case <-r.Context().Done():
		}
		return true
	})
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	j := d.job(job.Options{})
	go func() { done <- j.Run(ctx) }()
	<-asked
	cancel()
	select {
	case err := <-done:
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("it does not end")
	}
}
