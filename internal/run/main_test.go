package run

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/conf"
)

// start runs a process whose signals are the channel's.
func start(program func(context.Context) error) (signals chan<- os.Signal, code <-chan int, stderr *bytes.Buffer) {
	sig := make(chan os.Signal, 2)
	done := make(chan int, 2)
	stderr = new(bytes.Buffer)
	p := process{name: "prog", stderr: stderr, signals: sig, exit: func(code int) { done <- code }}
	go func() { done <- p.run(program) }()
	return sig, done, stderr
}

func TestFirstSignalEndsTheContext(t *testing.T) {
	var cause error
	signals, code, stderr := start(func(ctx context.Context) error {
		<-ctx.Done()
		cause = context.Cause(ctx)
		return fmt.Errorf("serve: %w", ctx.Err())
	})
	signals <- syscall.SIGTERM
	if got := <-code; got != 0 || stderr.Len() != 0 {
		t.Errorf("exit code %d, stderr %q, want 0 and nothing", got, stderr)
	}
	var signalErr *SignalError
	if !errors.As(cause, &signalErr) || signalErr.Signal != syscall.SIGTERM {
		t.Errorf("the cause is %v, want SIGTERM", cause)
	}
}

func TestSecondSignalEndsTheProcess(t *testing.T) {
	stuck := make(chan struct{})
	signals, code, stderr := start(func(context.Context) error { <-stuck; return nil })
	signals <- os.Interrupt
	signals <- os.Interrupt
	if got := <-code; got != 1 || !strings.Contains(stderr.String(), "prog: interrupt again") {
		t.Errorf("exit code %d, stderr %q, want 1 and a word about it", got, stderr)
	}
	close(stuck) // a real process would be gone
	if got := <-code; got != 0 {
		t.Errorf("the stuck program ended with %d", got)
	}
}

func TestExitCodesAndMessages(t *testing.T) {
	mistakes := conf.Errors{
		{Pos: conf.Pos{File: "b.yaml", Line: 2, Col: 1}, Msg: "two"},
		{Pos: conf.Pos{File: "a.yaml", Line: 1, Col: 1}, Msg: "one"},
	}
	tests := []struct {
		name   string
		err    error
		code   int
		stderr string
	}{
		{"nothing", nil, 0, ""},
		{"a failure", errors.New("no"), 1, "prog: no\n"},
		{"wrong usage", fmt.Errorf("run: %w", Usage(errors.New("no such flag"))), 2, "prog: run: no such flag\n"},
		{"a code of its own", WithCode(5, errors.New("refused")), 5, "prog: refused\n"},
		{"a code without text", WithCode(3, nil), 3, ""},
		{"mistakes of a file", mistakes, 1, "a.yaml:1:1: one\nb.yaml:2:1: two\n"},
		{"mistakes with context", fmt.Errorf("load: %w", mistakes), 1, "a.yaml:1:1: load: one\nb.yaml:2:1: load: two\n"},
		{"canceled though nobody said so", context.Canceled, 1, "prog: context canceled\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, code, stderr := start(func(context.Context) error { return tt.err })
			if got := <-code; got != tt.code || stderr.String() != tt.stderr {
				t.Errorf("exit code %d and %q, want %d and %q", got, stderr, tt.code, tt.stderr)
			}
		})
	}
	if WithCode(0, nil) != nil {
		t.Error("WithCode(0, nil) is an error")
	}
}

// TestMainHandlesRealSignals runs this test's program as a program of its own.
func TestMainHandlesRealSignals(t *testing.T) {
	if os.Getenv("RUN_AS_PROGRAM") == "1" {
		Main(func(ctx context.Context) error {
			fmt.Fprintln(os.Stderr, "ready")
			<-ctx.Done()
			fmt.Fprintln(os.Stderr, context.Cause(ctx))
			if os.Getenv("STUCK") == "1" {
				select {}
			}
			return nil
		})
	}
	tests := []struct {
		name    string
		stuck   string
		signals []os.Signal
		code    int
		stderr  []string
	}{
		{"one ends it well", "0", []os.Signal{syscall.SIGTERM}, 0, []string{"received terminated"}},
		{"a second ends it at once", "1", []os.Signal{os.Interrupt, os.Interrupt}, 1, []string{"received interrupt", "again"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, self, "-test.run=^TestMainHandlesRealSignals$")
			cmd.Env = append(os.Environ(), "RUN_AS_PROGRAM=1", "STUCK="+tt.stuck)
			pipe, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			// Each signal is sent once the program has answered the one before.
			var seen strings.Builder
			for i, sig := range tt.signals {
				readUntil(t, pipe, &seen, append([]string{"ready"}, tt.stderr...)[i])
				if err := cmd.Process.Signal(sig); err != nil {
					t.Fatal(err)
				}
			}
			rest, err := io.ReadAll(pipe)
			if err != nil {
				t.Fatal(err)
			}
			seen.Write(rest)
			err = cmd.Wait()
			if got := cmd.ProcessState.ExitCode(); got != tt.code {
				t.Errorf("exit code %d (%v), want %d; stderr:\n%s", got, err, tt.code, seen.String())
			}
			for _, want := range tt.stderr {
				if !strings.Contains(seen.String(), want) {
					t.Errorf("stderr has no %q:\n%s", want, seen.String())
				}
			}
		})
	}
}

// readUntil reads from r until text has come, or the program has ended.
func readUntil(t *testing.T, r io.Reader, seen *strings.Builder, text string) {
	t.Helper()
	buf := make([]byte, 256)
	for !strings.Contains(seen.String(), text) {
		n, err := r.Read(buf)
		seen.Write(buf[:n])
		if err != nil {
			t.Fatalf("before %q: %v; stderr:\n%s", text, err, seen.String())
		}
	}
}

func TestLoggerWritesJSONWhereNobodyWatches(t *testing.T) {
	var out bytes.Buffer
	level := new(slog.LevelVar)
	log := NewLogger(&out, LogAuto, level)
	log.Debug("not yet")
	level.Set(slog.LevelDebug)
	log.Debug("now", "port", 80)
	var line struct {
		Msg  string
		Port int
	}
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line.Msg != "now" || line.Port != 80 {
		t.Errorf("wrote %q, %v", out.String(), err)
	}
	out.Reset()
	NewLogger(&out, LogText, level).Info("hello")
	if !strings.Contains(out.String(), "msg=hello") {
		t.Errorf("as text: %q", out.String())
	}
}

func TestLogSettingsAreChecked(t *testing.T) {
	for s, want := range map[string]slog.Level{"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError} {
		if got, err := ParseLevel(s); err != nil || got != want {
			t.Errorf("ParseLevel(%s) = %v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "INFO", "trace", "info+1"} {
		if _, err := ParseLevel(s); err == nil {
			t.Errorf("ParseLevel(%q) is accepted", s)
		}
	}
	if LogFormat("xml").Validate() == nil || LogAuto.Validate() != nil {
		t.Error("Validate takes xml, or refuses auto")
	}
}
