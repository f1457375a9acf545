// Package systemd speaks the two protocols that a service manager has with the
// services it starts: sockets that it has bound for them (sd_listen_fds(3)),
// and how they are (sd_notify(3)). Both are environment variables and file
// descriptors; nothing of systemd is needed to use them, or linked.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The states of Notify.
const (
	Ready    = "READY=1"
	Stopping = "STOPPING=1"
)

// Reloading is the state of a service that reads its configuration again. The
// manager wants to know since when, by the clock that only goes forward.
func Reloading() string {
	return fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", monotonic().Microseconds())
}

// MainPID is the state of a service whose main process is another one from now
// on. It has to come from the one that it was before.
func MainPID(pid int) string { return "MAINPID=" + strconv.Itoa(pid) }

// notifyTimeout bounds how long a manager that does not read can hold us up.
const notifyTimeout = time.Second

// Notifier sends states to the socket that NOTIFY_SOCKET names; nil where it is
// empty: there is no manager that listens.
func Notifier(socket string) func(state string) error {
	if socket == "" {
		return nil
	}
	if rest, ok := strings.CutPrefix(socket, "@"); ok { // the abstract namespace
		socket = "\x00" + rest
	}
	return func(state string) error {
		ctx, cancel := context.WithTimeout(context.Background(), notifyTimeout)
		defer cancel()
		c, err := new(net.Dialer).DialContext(ctx, "unixgram", socket)
		if err != nil {
			return fmt.Errorf("NOTIFY_SOCKET: %w", err)
		}
		defer func() { _ = c.Close() }()
		if err := c.SetDeadline(time.Now().Add(notifyTimeout)); err != nil {
			return fmt.Errorf("NOTIFY_SOCKET: %w", err)
		}
		if _, err := c.Write([]byte(state)); err != nil {
			return fmt.Errorf("NOTIFY_SOCKET: %w", err)
		}
		return nil
	}
}

// firstFD is the first descriptor that is passed (SD_LISTEN_FDS_START).
const firstFD = 3

// maxFDs bounds what LISTEN_FDS may say.
const maxFDs = 128

// Socket is a listening socket that the manager has bound.
type Socket struct {
	Name     string // FileDescriptorName= of its unit; empty: the unit has none
	Listener net.Listener
}

// Listeners takes the sockets that the manager has bound for this process, by
// LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES. There are none where LISTEN_PID is
// another process: the variables are then left over from one of our parents.
func Listeners(getenv func(string) string) ([]Socket, error) {
	pid, fds := getenv("LISTEN_PID"), getenv("LISTEN_FDS")
	if fds == "" || pid != strconv.Itoa(os.Getpid()) {
		return nil, nil
	}
	n, err := strconv.Atoi(fds)
	if err != nil || n < 0 || n > maxFDs {
		return nil, fmt.Errorf("LISTEN_FDS: %.20q is not a number from 0 to %d", fds, maxFDs)
	}
	var names []string
	if text := getenv("LISTEN_FDNAMES"); text != "" {
		names = strings.Split(text, ":")
		if len(names) != n {
			return nil, fmt.Errorf("LISTEN_FDNAMES: there are %d names for %d sockets", len(names), n)
		}
	}
	return listeners(firstFD, n, names)
}

func listeners(first, n int, names []string) (all []Socket, err error) {
	defer func() {
		if err != nil {
			for _, s := range all {
				_ = s.Listener.Close()
			}
			all = nil
		}
	}()
	var errs []error
	for i := range n {
		fd := first + i
		syscall.CloseOnExec(fd)
		f := os.NewFile(uintptr(fd), "LISTEN_FD_"+strconv.Itoa(fd))
		ln, err := net.FileListener(f)
		_ = f.Close()
		if err != nil {
			errs = append(errs, fmt.Errorf("LISTEN_FDS: descriptor %d is not a listening stream socket: %w", fd, err))
			continue
		}
		s := Socket{Listener: ln}
		// "unknown" and the unit's own name are what systemd says where nobody
		// has named the socket.
		if i < len(names) && names[i] != "unknown" && !strings.HasSuffix(names[i], ".socket") {
			s.Name = names[i]
		}
		all = append(all, s)
	}
	return all, errors.Join(errs...)
}
