package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/outrigger-mesh/outrigger/internal/conf"
)

// Main is the whole of a program's main function: it runs program under a
// context that SIGINT and SIGTERM end, prints its error once and exits with
// the error's code. A second signal ends the process at once, with code 1.
func Main(program func(ctx context.Context) error) {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	p := process{name: filepath.Base(os.Args[0]), stderr: os.Stderr, signals: signals, exit: os.Exit} //nolint:forbidigo // this is where it is done
	os.Exit(p.run(program))                                                                           //nolint:forbidigo // likewise
}

// process is Main with its surroundings as parameters.
type process struct {
	name    string
	stderr  io.Writer
	signals <-chan os.Signal
	exit    func(code int)
}

// SignalError is the cause of a context that a signal has ended.
type SignalError struct{ Signal os.Signal }

// Error names the signal.
func (e *SignalError) Error() string { return "received " + e.Signal.String() }

func (p *process) run(program func(ctx context.Context) error) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	finished := make(chan struct{})
	var watcher sync.WaitGroup
	watcher.Go(func() {
		for first := true; ; first = false {
			select {
			case <-finished:
				return
			case sig := <-p.signals:
				if !first {
					fmt.Fprintf(p.stderr, "%s: %v again: ends at once\n", p.name, sig)
					p.exit(codeFailure)
					return
				}
				cancel(&SignalError{sig})
			}
		}
	})
	err := program(ctx)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		err = nil // it did as it was told
	}
	close(finished)
	watcher.Wait()
	cancel(nil)
	Print(p.stderr, p.name, err)
	return ExitCode(err)
}

// Print writes an error for people: the mistakes of configuration files one a
// line and beginning with their place, anything else after the program's
// name. It writes nothing for nil, nor for an error without text.
func Print(w io.Writer, program string, err error) {
	if err == nil || err.Error() == "" {
		return
	}
	var mistake *conf.Error
	if !errors.As(err, &mistake) {
		fmt.Fprintf(w, "%s: %v\n", program, err)
		return
	}
	fmt.Fprintln(w, conf.Join(err))
}
