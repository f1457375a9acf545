package load

import (
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

// sysEpollPwait2 is epoll_pwait2(2), of Linux 5.11, the same number on every
// architecture: epoll_wait with a time-out in nanoseconds. In milliseconds, a
// request would be sent up to 1 ms late.
const sysEpollPwait2 = 441

// prSetTimerSlack is PR_SET_TIMERSLACK of prctl(2).
const prSetTimerSlack = 29

// poller is an epoll instance. It belongs to one thread.
type poller struct {
	fd     int
	events [128]syscall.EpollEvent
}

func newPoller() (*poller, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	return &poller{fd: fd}, nil
}

func (p *poller) close() { _ = syscall.Close(p.fd) }

func (p *poller) add(fd, index int) error {
	return p.control(syscall.EPOLL_CTL_ADD, fd, index, syscall.EPOLLIN)
}

func (p *poller) watch(fd, index int, write bool) error {
	events := uint32(syscall.EPOLLIN)
	if write {
		events |= syscall.EPOLLOUT
	}
	return p.control(syscall.EPOLL_CTL_MOD, fd, index, events)
}

func (p *poller) control(op, fd, index int, events uint32) error {
	// Fd is only handed back: it holds the connection's index.
	ev := syscall.EpollEvent{Events: events, Fd: int32(index)}
	if err := syscall.EpollCtl(p.fd, op, fd, &ev); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

// wait returns what is ready, after timeout at the latest.
func (p *poller) wait(timeout time.Duration) ([]syscall.EpollEvent, error) {
	ts := syscall.NsecToTimespec(int64(max(timeout, 0)))
	for {
		n, _, errno := syscall.Syscall6(sysEpollPwait2, uintptr(p.fd),
			uintptr(unsafe.Pointer(&p.events[0])), uintptr(len(p.events)), uintptr(unsafe.Pointer(&ts)), 0, 0)
		switch errno {
		case 0:
			return p.events[:n], nil
		case syscall.EINTR:
			return nil, nil // the loop looks at its clock and comes again
		case syscall.ENOSYS:
			return nil, errors.New("epoll_pwait2 is missing: the load generator needs Linux 5.11 or later")
		default:
			return nil, fmt.Errorf("epoll_pwait2: %w", errno)
		}
	}
}

// ownThread keeps the goroutine on its thread, whose timers are made exact:
// by default the kernel may let them come 50 µs late.
func ownThread() (release func()) {
	runtime.LockOSThread()
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, prSetTimerSlack, 1, 0) // without it, later: no error
	return runtime.UnlockOSThread
}

// read and write are for sockets that do not block: the scheduler need not
// be told of them.

func read(fd int, p []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func write(fd int, p []byte) (int, error) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), syscall.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			return int(n), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

// await is read for a socket that blocks.
func await(fd int, p []byte) (int, error) {
	for {
		n, err := syscall.Read(fd, p)
		if !errors.Is(err, syscall.EINTR) {
			return max(n, 0), err
		}
	}
}
