package lab

import "syscall"

// processAttributes makes a process the head of its own group, so that Ctrl-C
// on the terminal reaches this program alone, and has the kernel kill it when
// the thread that started it ends.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
