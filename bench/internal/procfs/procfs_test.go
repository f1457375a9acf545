package procfs

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// stat is a line of /proc/PID/stat with another name in it.
func stat(name string) string {
	return "4711 (" + name + ") S 17 4700 4700 0 -1 4194304 901 0 3 0 250 125 7 9 20 0 9 0 1234 1276000000 5000 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0\n"
}

func TestParseStatWithAnyName(t *testing.T) {
	for _, name := range []string{"nginx", "", "a b", "(", ")", "a) S 1 2 (b", "nginx: worker", "x\ny) R 9 9"} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseStat([]byte(stat(name)))
			if err != nil {
				t.Fatal(err)
			}
			want := Stat{PID: 4711, Comm: name, State: 'S', PPID: 17, PGRP: 4700, User: 2500 * time.Millisecond, System: 1250 * time.Millisecond}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestParseStatRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":    "",
		"no name":    "12 S 1 1 1",
		"open name":  "12 (x S 1",
		"reversed":   "12 )x( S 1",
		"no pid":     "(x) S 1 1 1 0 -1 0 0 0 0 0 1 1",
		"bad pid":    strings.Replace(stat("x"), "4711", "y", 1),
		"cut short":  "4711 (x) S 17 4700",
		"bad utime":  strings.Replace(stat("x"), " 250 ", " y ", 1),
		"bad pgroup": strings.Replace(stat("x"), " 4700 ", " y ", 1),
	} {
		if s, err := ParseStat([]byte(text)); err == nil {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

const rollup = `55d0c0a3c000-7ffd0b1f2000 ---p 00000000 00:00 0                          [rollup]
Rss:               24500 kB
Pss:               12200 kB
Pss_Dirty:          1112 kB
Pss_Anon:            112 kB
Locked:                0 kB
`

func TestParseRollup(t *testing.T) {
	if pss, err := parseRollup([]byte(rollup)); err != nil || pss != 12200*1024 {
		t.Errorf("%d, %v", pss, err)
	}
	for name, text := range map[string]string{
		"without Pss":  strings.Replace(rollup, "Pss:", "Oss:", 1),
		"no number":    strings.Replace(rollup, "12200", "many", 1),
		"nothing":      "",
		"another unit": strings.Replace(rollup, "12200 kB", "12200 MB", 1),
	} {
		if pss, err := parseRollup([]byte(text)); err == nil {
			t.Errorf("%s: %d", name, pss)
		}
	}
}

func TestParseStatus(t *testing.T) {
	const status = "Name:\tngi: 5 kB\nVmPeak:\t  99 kB\nVmRSS:\t    5000 kB\nRssAnon:\t    1000 kB\nRssFile:\t    3500 kB\nRssShmem:\t     500 kB\nThreads:\t3\n"
	got, err := parseStatus([]byte(status))
	if diff := cmp.Diff(Memory{RSS: 5000 << 10, Anon: 1000 << 10, File: 4000 << 10}, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
	// A process of the kernel has none, and a zombie has none any more.
	if m, err := parseStatus([]byte("Name:\tkthreadd\nThreads:\t1\n")); err == nil {
		t.Errorf("%+v", m)
	}
}

func TestParseBusy(t *testing.T) {
	got, err := parseBusy([]byte("cpu  100 20 3000 999999 888 40 5 6 7 8\ncpu0 1 1 1 1 1 1 1 1 1 1\n"))
	if want := (100 + 20 + 3000 + 40 + 5 + 6) * Tick; err != nil || got != want {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	for _, text := range []string{"", "cpu0 1 1 1 1 1 1 1 1", "cpu  1 2 3", "cpu  1 2 x 4 5 6 7 8"} {
		if d, err := parseBusy([]byte(text)); err == nil {
			t.Errorf("%q: %v", text, d)
		}
	}
}

// rusage is the processor time of this process as the kernel tells it itself.
func rusage(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func TestCPUIsThatOfTheProcess(t *testing.T) {
	for sum := uint64(1); rusage(t) < 50*time.Millisecond; sum++ { // until there is something to see
		sum *= sum
	}
	const rounding = time.Millisecond
	before := rusage(t)
	got, err := CPU(os.Getpid())
	after := rusage(t)
	if err != nil || got < before-rounding || got > after+rounding {
		t.Errorf("%v, %v; getrusage says %v before and %v after", got, err, before, after)
	}
	ticks, err := Ticks([]int{os.Getpid()})
	if end := rusage(t); err != nil || ticks < before-2*Tick || ticks > end+rounding {
		t.Errorf("ticks: %v, %v; getrusage says %v before and %v after", ticks, err, before, end)
	}
}

func TestGroupIsAllProcessesOfTheGroupThatLive(t *testing.T) {
	// The shell's first child ends at once, and is not waited for: a zombie.
	cmd := exec.CommandContext(t.Context(), "sh", "-c", "true & sleep 60 & exec sleep 60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pgid := cmd.Process.Pid
	t.Cleanup(func() { _ = syscall.Kill(-pgid, syscall.SIGKILL); _ = cmd.Wait() })
	var names []string
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		pids, err := Group(pgid)
		if err != nil {
			t.Fatal(err)
		}
		names = nil
		for _, pid := range pids {
			if s, err := ReadStat(pid); err == nil {
				names = append(names, s.Comm)
			}
		}
		if cmp.Equal(names, []string{"sleep", "sleep"}) {
			m, err := MemoryOf(pids)
			if err != nil || m.RSS <= 0 || m.RSS < m.PSS || m.RSS != m.Anon+m.File {
				t.Errorf("memory: %+v, %v", m, err)
			}
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the group is %q", names)
		}
	}
}

func TestProcessesThatAreGone(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	gone := []int{cmd.Process.Pid}
	if d, err := CPUOf(gone); err == nil {
		t.Errorf("processor time: %v", d)
	}
	if m, err := MemoryOf(gone); err == nil {
		t.Errorf("memory: %+v", m)
	}
	if pids, err := Group(gone[0]); err != nil || len(pids) != 0 {
		t.Errorf("group: %v, %v", pids, err)
	}
}

// A process may call itself what it likes: its name alone changes nothing else.
func FuzzParseStatName(f *testing.F) {
	for _, seed := range []string{"nginx", ") S 1 1", "(", "\n", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		s, err := ParseStat([]byte(stat(name)))
		if err != nil || s.Comm != name || s.PID != 4711 || s.PGRP != 4700 {
			t.Errorf("%q: %+v, %v", name, s, err)
		}
	})
}
