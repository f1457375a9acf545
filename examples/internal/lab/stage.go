// Package lab is what the examples and their end-to-end tests are staged with:
// real processes on loopback ports, steady traffic, and questions to the apps
// and admin ports. It drives the built programs from outside and imports none
// of them.
//
// Whatever way a program that uses it ends, no process is left behind: each is
// the head of its own process group, Stage.Close kills the groups, and on
// Linux the kernel kills the processes when the program itself is killed (not
// those that they have started in their turn).
package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
)

// Stage is a folder, and the processes that run in it.
type Stage struct {
	Dir string

	spawn chan func() // runs on the one thread that starts processes

	mu     sync.Mutex
	closed bool
	procs  []*Process
}

// Spec is a process to start.
type Spec struct {
	Name string   // for people, and the name of its log file; unique among living processes
	Path string   // of the program
	Args []string // without the program's name
	Env  []string // KEY=value, over the environment of this process
	Dir  string   // its working directory; default: the stage's folder
	In   *os.File // its standard input; default: nothing
}

// NewStage makes a stage in a new folder within the system's temporary one.
func NewStage(name string) (*Stage, error) {
	dir, err := os.MkdirTemp("", "outrigger-"+name+"-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for %s: %w", name, err)
	}
	s := &Stage{Dir: dir, spawn: make(chan func())}
	// The kernel's parent-death signal is sent when the thread that started a
	// process ends, not the program: so they are all started by one thread
	// that lives as long as the stage.
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for start := range s.spawn {
			start()
		}
	}()
	return s, nil
}

// Start starts a process. Its output goes to logs/NAME.log in the stage's
// folder; a later process of the same name appends to it.
func (s *Stage) Start(spec Spec) (*Process, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, fmt.Errorf("start %s: the stage is closed", spec.Name)
	}
	logs := filepath.Join(s.Dir, "logs")
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	p := &Process{Name: spec.Name, Log: filepath.Join(logs, spec.Name+".log"), exited: make(chan struct{})}
	out, err := os.OpenFile(p.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	defer func() { _ = out.Close() }() // the child has its own descriptor

	// Not bound to a context: how a process ends is the stage's to say.
	p.cmd = exec.CommandContext(context.Background(), spec.Path, spec.Args...)
	p.cmd.Dir = cmp.Or(spec.Dir, s.Dir)
	p.cmd.Env = append(p.cmd.Environ(), spec.Env...)
	if spec.In != nil {
		p.cmd.Stdin = spec.In
	}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = processAttributes()

	started := make(chan error, 1)
	s.spawn <- func() { started <- p.cmd.Start() }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	go p.wait()
	s.procs = append(s.procs, p)
	return p, nil
}

// Close kills what still runs, waits for it, and removes the folder unless it
// is to be kept.
func (s *Stage) Close(keep bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	for _, p := range slices.Backward(s.procs) {
		p.Kill()
	}
	close(s.spawn)
	if keep {
		return nil
	}
	if err := os.RemoveAll(s.Dir); err != nil {
		return fmt.Errorf("remove the stage's folder: %w", err)
	}
	return nil
}

// Write puts a file into the stage's folder, with the folders above it.
func (s *Stage) Write(name string, content []byte) (path string, err error) {
	path = filepath.Join(s.Dir, filepath.FromSlash(name))
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, content, 0o600)); err != nil {
		return "", fmt.Errorf("write %s: %w", name, err)
	}
	return path, nil
}
