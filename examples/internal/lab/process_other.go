//go:build unix && !linux

package lab

import "syscall"

// processAttributes makes a process the head of its own group, so that Ctrl-C
// on the terminal reaches this program alone.
func processAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
