package handover

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Request asks a running process to give its place to a new one.
type Request struct {
	Binary string `json:"binary"` // the absolute path of the program to start
}

// Result is what came of it.
type Result struct {
	OldPID int    `json:"oldPID,omitempty"`
	NewPID int    `json:"newPID,omitempty"`
	Error  string `json:"error,omitempty"` // why the old one has gone on
}

// requestTimeout is how long a client may take to say what it wants.
const requestTimeout = 5 * time.Second

// closedSoon is a short wait for what is about to happen.
func closedSoon() <-chan time.Time { return time.After(time.Second) }

// Listen binds the socket on which Ask is heard. One that was left behind by a
// process that is gone is replaced.
func Listen(path string) (*net.UnixListener, error) {
	address := &net.UnixAddr{Name: path, Net: "unix"}
	ln, err := net.ListenUnix("unix", address)
	if err != nil {
		if c, dialErr := net.DialUnix("unix", nil, address); dialErr == nil {
			_ = c.Close()
			return nil, fmt.Errorf("upgrade.socket: another process answers at %s: give each sidecar its own", path)
		}
		info, statErr := os.Lstat(path)
		if statErr != nil || info.Mode()&fs.ModeSocket == 0 {
			return nil, fmt.Errorf("upgrade.socket: cannot listen at %s: %w", path, err)
		}
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("upgrade.socket: what an earlier process has left cannot be removed: %w", err)
		}
		if ln, err = net.ListenUnix("unix", address); err != nil {
			return nil, fmt.Errorf("upgrade.socket: cannot listen at %s: %w", path, err)
		}
	}
	// Whoever connects before this is refused by its user all the same.
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("upgrade.socket: %w", err), ln.Close())
	}
	return ln, nil
}

// Serve answers requests until ctx ends or the listener is closed, and returns
// when every request has been answered. handle is called for one at a time or
// several, as they come.
func Serve(ctx context.Context, ln *net.UnixListener, handle func(context.Context, Request) Result) error {
	var group sync.WaitGroup
	defer group.Wait()
	stop := context.AfterFunc(ctx, func() { _ = ln.Close() })
	defer stop()
	for {
		c, err := ln.AcceptUnix()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			return fmt.Errorf("upgrade.socket: %w", err)
		}
		group.Go(func() {
			defer func() { _ = c.Close() }()
			answer(ctx, c, handle)
		})
	}
}

func answer(ctx context.Context, c *net.UnixConn, handle func(context.Context, Request) Result) {
	l := newLine(c)
	if err := checkPeer(c); err != nil {
		_ = l.send(Result{Error: err.Error()})
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(requestTimeout))
	var r Request
	err := l.receive(&r)
	if err == nil {
		err = checkBinary(r.Binary)
	}
	if err != nil {
		_ = l.send(Result{Error: "the request cannot be used: " + err.Error()})
		return
	}
	_ = l.send(handle(ctx, r))
}

// checkUser refuses all users but our own and root.
func checkUser(uid, own int) error {
	if uid != 0 && uid != own {
		return fmt.Errorf("user %d may not ask: only the sidecar's own (%d) and root may", uid, own)
	}
	return nil
}

func checkBinary(path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("binary: %.100q is not an absolute path", path)
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("binary: %w", err)
	}
	if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return fmt.Errorf("binary: %s is not a program", path)
	}
	return nil
}

// Ask asks the process that listens at path, and waits for what comes of it.
func Ask(ctx context.Context, path string, r Request) (Result, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return Result{}, fmt.Errorf("no sidecar answers at %s (upgrade.socket): is it running, with this configuration? %w", path, err)
	}
	defer func() { _ = conn.Close() }()
	l := newLine(conn)
	if err := l.send(r); err != nil {
		return Result{}, fmt.Errorf("ask the sidecar at %s: %w", path, err)
	}
	defer l.interrupt(ctx.Done())()
	var result Result
	if err := l.receive(&result); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return Result{}, fmt.Errorf("the sidecar at %s has not answered: %w", path, err)
	}
	if result.Error != "" {
		return result, errors.New(result.Error)
	}
	return result, nil
}
