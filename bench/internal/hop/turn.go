package hop

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/outrigger-mesh/outrigger/bench/internal/load"
)

// loader is the load generator as a process of its own, told what to do on
// its standard input.
func loader(ctx context.Context, self string) (*exec.Cmd, *bytes.Buffer) {
	cmd := exec.CommandContext(ctx, self, load.Subcommand)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	// A group of its own: Ctrl-C at the terminal is for us, and we end it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return cmd, &stderr
}

// generate runs the load generator once.
func generate(ctx context.Context, self string, spec load.Spec) (load.Result, error) {
	text, err := json.Marshal(spec)
	if err != nil {
		return load.Result{}, err
	}
	cmd, stderr := loader(ctx, self)
	cmd.Stdin = bytes.NewReader(text)
	out, err := cmd.Output()
	if err != nil {
		if ctx.Err() != nil {
			return load.Result{}, context.Cause(ctx)
		}
		return load.Result{}, fmt.Errorf("load generator: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	var r load.Result
	if err := json.Unmarshal(out, &r); err != nil {
		return load.Result{}, fmt.Errorf("load generator: its result: %w", err)
	}
	return r, nil
}

// holdWhile opens idle connections, calls held when all are open, and closes
// them. lost is how many the peer had closed.
func holdWhile(ctx context.Context, self string, spec load.Spec, held func() error) (err error) {
	text, err := json.Marshal(spec)
	if err != nil {
		return err
	}
	cmd, stderr := loader(ctx, self)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	answers := json.NewDecoder(stdout)
	err = func() error {
		if _, err := stdin.Write(text); err != nil {
			return err
		}
		var ready load.Held
		if err := answers.Decode(&ready); err != nil {
			return fmt.Errorf("it ended before its connections were open: %w", err)
		}
		if err := held(); err != nil {
			return err
		}
		if err := stdin.Close(); err != nil { // releases them
			return err
		}
		var end load.Held
		if err := answers.Decode(&end); err != nil {
			return err
		}
		if end.Lost > 0 {
			return fmt.Errorf("%d of %d idle connections were closed by the peer", end.Lost, spec.Connections)
		}
		return nil
	}()
	_ = stdin.Close()
	waitErr := cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return fmt.Errorf("idle connections: %w: %s", err, strings.TrimSpace(stderr.String()))
	case waitErr != nil && !errors.Is(waitErr, os.ErrProcessDone):
		return fmt.Errorf("idle connections: %w: %s", waitErr, strings.TrimSpace(stderr.String()))
	}
	return nil
}
