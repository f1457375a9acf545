package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Process is a started program and, on Unix, its process group.
type Process struct {
	Name string
	Log  string // path of the file with its output

	cmd    *exec.Cmd
	exited chan struct{} // closed when it has ended and was waited for
}

func (p *Process) wait() {
	_ = p.cmd.Wait() // the state says how it ended
	close(p.exited)
}

// PID is the process' id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Running reports whether it has not ended yet.
func (p *Process) Running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Kill ends the process and its children by SIGKILL and waits for it.
func (p *Process) Kill() {
	if p.Running() {
		// The group exists as long as its head was not waited for.
		if err := syscall.Kill(-p.PID(), syscall.SIGKILL); err != nil {
			_ = p.cmd.Process.Kill()
		}
	}
	<-p.exited
}

// Terminate sends SIGTERM and waits for the end: an error if the process does
// not end by itself before ctx does, or ends with another code than 0.
func (p *Process) Terminate(ctx context.Context) error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("end %s: %w", p.Name, err)
	}
	select {
	case <-p.exited:
	case <-ctx.Done():
		return fmt.Errorf("end %s: it still runs: %w", p.Name, ctx.Err())
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("end %s: %s", p.Name, p.cmd.ProcessState)
	}
	return nil
}

// Await asks cond every few milliseconds until it returns nil. The error is
// that of the last time, when ctx ended or the process did.
func (p *Process) Await(ctx context.Context, cond func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-p.exited:
			cancel(fmt.Errorf("%s has ended: %s", p.Name, p.cmd.ProcessState))
		case <-ctx.Done():
		}
	}()
	return Until(ctx, cond)
}

// Until asks cond every few milliseconds until it returns nil. The error is
// that of the last time, with the reason why ctx ended.
func Until(ctx context.Context, cond func(context.Context) error) error {
	for {
		err := cond(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			cause := context.Cause(ctx)
			if errors.Is(err, cause) {
				return err // it was cut off itself, and says why
			}
			return fmt.Errorf("%w (%w)", err, cause)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Tail is the last lines of the process' log.
func (p *Process) Tail(lines int) string {
	b, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	b = bytes.TrimRight(b, "\n")
	if len(b) == 0 {
		return "(nothing)"
	}
	all := strings.Split(string(b), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
