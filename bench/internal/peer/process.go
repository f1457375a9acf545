package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/outrigger-mesh/outrigger/bench/internal/procfs"
)

const (
	startLimit = 20 * time.Second // until a peer answers
	stopLimit  = 5 * time.Second  // after SIGTERM, before SIGKILL
	poll       = 20 * time.Millisecond
)

// Process is a peer that runs. It is the leader of a process group, which all
// that it starts stays in.
type Process struct {
	Name    string
	Site    Site
	cmd     *exec.Cmd
	pgid    int
	log     string        // the file with what it writes
	done    chan struct{} // closed when the leader has been waited for
	stopped sync.Once
	stopErr error
}

// Start starts a peer in the site's folder, which it makes, and waits until
// it answers.
//
// The processes are told to end when the thread that started them does
// (PR_SET_PDEATHSIG), which covers that the benchmark itself is killed: so the
// caller has to be locked to a thread that lives as long as they shall.
func Start(ctx context.Context, p Peer, s Site) (*Process, error) {
	if err := os.MkdirAll(s.Dir, 0o755); err != nil {
		return nil, err
	}
	program, args, err := p.configure(s)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	}
	logPath := filepath.Join(s.Dir, "output.log")
	log, err := os.Create(logPath)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.Command(program, args...) //nolint:noctx // it is stopped by Stop, whole group and all
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.Dir, log, log
	// Nothing is read from or written to the home of whoever runs this.
	cmd.Env = append(os.Environ(), "HOME="+s.Dir, "XDG_DATA_HOME="+s.Dir, "XDG_CONFIG_HOME="+s.Dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	}
	proc := &Process{Name: p.Name, Site: s, cmd: cmd, pgid: cmd.Process.Pid, log: logPath, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // that it ended is what counts, and is noticed by done
		close(proc.done)
	}()
	if err := proc.ready(ctx); err != nil {
		return nil, errors.Join(err, proc.Stop())
	}
	return proc, nil
}

// ready waits until the peer answers.
func (p *Process) ready(ctx context.Context) error {
	limit := time.NewTimer(startLimit)
	defer limit.Stop()
	var last error
	for {
		if last = probe(ctx, p.Site); last == nil {
			return nil
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended instead of serving: %s", p.Name, p.Output())
		case <-limit.C:
			return fmt.Errorf("%s does not answer on %s after %v: %w: %s", p.Name, p.Site.Listen, startLimit, last, p.Output())
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(poll):
		}
	}
}

// PIDs are the processes of the peer that live, its workers included.
func (p *Process) PIDs() ([]int, error) {
	pids, err := procfs.Group(p.pgid)
	if err == nil && len(pids) == 0 {
		err = fmt.Errorf("%s has ended: %s", p.Name, p.Output())
	}
	return pids, err
}

// Memory is what all processes of the peer have resident.
func (p *Process) Memory() (procfs.Memory, error) {
	pids, err := p.PIDs()
	if err != nil {
		return procfs.Memory{}, err
	}
	return procfs.MemoryOf(pids)
}

// Output is the end of what the peer has written.
func (p *Process) Output() string {
	const kept = 2000
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	text = bytes.TrimSpace(text)
	if len(text) == 0 {
		return "it wrote nothing"
	}
	return string(text[max(0, len(text)-kept):])
}

// Stop ends the peer and all that it has started. When it returns without an
// error, none of its processes is left. It may be called more than once.
func (p *Process) Stop() error {
	p.stopped.Do(func() { p.stopErr = p.stop() })
	return p.stopErr
}

func (p *Process) stop() error {
	_ = syscall.Kill(-p.pgid, syscall.SIGTERM) // an error says that it is gone
	select {
	case <-p.done:
	case <-time.After(stopLimit):
		_ = syscall.Kill(-p.pgid, syscall.SIGKILL)
		<-p.done
	}
	// The leader is gone; what is left of the group has lost its reason to live.
	deadline := time.Now().Add(stopLimit)
	for errors.Is(syscall.Kill(-p.pgid, syscall.SIGKILL), nil) {
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: processes of group %d do not end; look with: ps -o pid,pgid,cmd -g %d", p.Name, p.pgid, p.pgid)
		}
		<-time.After(poll)
	}
	return nil
}
