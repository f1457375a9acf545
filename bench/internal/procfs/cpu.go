package procfs

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
	"unsafe"
)

// CPU is the processor time, user and system together, that all threads of a
// process have used, ended ones included, to the nanosecond.
//
// It is the process's own clock (clock_getcpuclockid(3)), which counts what the
// sum of utime and stime in /proc/PID/stat counts, without cutting it to ticks.
// With ticks of 10 ms, two fields a process and two readings, a worker that uses
// half a second in a round would be known to within 4 % only; see Ticks.
func CPU(pid int) (time.Duration, error) {
	// The kernel's id of the clock: the complement of the pid in the upper
	// bits, CPUCLOCK_SCHED (2) in the lower ones (include/linux/posix-timers_types.h).
	const cpuclockSched = 2
	clock := uintptr(^pid<<3 | cpuclockSched)
	var ts syscall.Timespec
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clock, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		return 0, fmt.Errorf("processor time of process %d: %w", pid, errno)
	}
	return time.Duration(ts.Nano()), nil
}

// CPUOf is the sum of CPU over processes.
func CPUOf(pids []int) (time.Duration, error) {
	var sum time.Duration
	for _, pid := range pids {
		d, err := CPU(pid)
		if err != nil {
			return 0, err
		}
		sum += d
	}
	return sum, nil
}

// Ticks is the sum of user and system time in /proc/PID/stat over processes:
// what people can read themselves. Each process's is up to two ticks too low.
func Ticks(pids []int) (time.Duration, error) {
	var sum time.Duration
	for _, pid := range pids {
		s, err := ReadStat(pid)
		if err != nil {
			return 0, err
		}
		sum += s.User + s.System
	}
	return sum, nil
}

// Busy is the time that all processors together have worked since the system
// began, from the first line of /proc/stat. Time that the host gave to other
// machines (steal) counts: it was not there for us.
func Busy() (time.Duration, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	return parseBusy(text)
}

func parseBusy(text []byte) (time.Duration, error) {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	f := bytes.Fields(line)
	if len(f) < 9 || string(f[0]) != "cpu" {
		return 0, fmt.Errorf("/proc/stat: expected the line of all processors first, found %q", line)
	}
	// user nice system idle iowait irq softirq steal
	var ticks int64
	for _, i := range []int{1, 2, 3, 6, 7, 8} {
		n, err := strconv.ParseInt(string(f[i]), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: field %d: %w", i, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * Tick, nil
}
