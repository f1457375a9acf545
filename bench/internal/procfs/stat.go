// Package procfs reads what Linux says of processes: whose group they are in,
// what processor time they have used, and what memory is theirs. Parsing is
// apart from reading, and is tested on text.
package procfs

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// Tick is the unit of times in /proc (USER_HZ, which is 100 on every
// architecture that Go runs on).
const Tick = 10 * time.Millisecond

// Stat is a part of /proc/PID/stat (proc_pid_stat(5)).
type Stat struct {
	PID   int
	Comm  string // the program's name, 15 bytes at most; may hold spaces and brackets
	State byte
	PPID  int
	PGRP  int
	// User and System are processor time of all threads, ended ones included,
	// truncated to whole ticks each.
	User, System time.Duration
}

// ParseStat parses the one line of /proc/PID/stat. The name stands in
// brackets and may itself hold brackets, spaces and line breaks: it ends at the
// last closing bracket of the text.
func ParseStat(text []byte) (Stat, error) {
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 1 || end < open {
		return Stat{}, fmt.Errorf("stat: no name in brackets in %q", text)
	}
	s := Stat{Comm: string(text[open+1 : end])}
	var err error
	if s.PID, err = strconv.Atoi(string(bytes.TrimSpace(text[:open]))); err != nil {
		return Stat{}, fmt.Errorf("stat: pid: %w", err)
	}
	// Field 3 (state) is the first one here; utime and stime are 14 and 15.
	f := bytes.Fields(text[end+1:])
	if len(f) < 13 {
		return Stat{}, fmt.Errorf("stat: %d fields after the name, expected 13 at least, in %q", len(f), text)
	}
	s.State = f[0][0]
	for _, n := range []struct {
		field int
		to    *int
	}{{1, &s.PPID}, {2, &s.PGRP}} {
		if *n.to, err = strconv.Atoi(string(f[n.field])); err != nil {
			return Stat{}, fmt.Errorf("stat: field %d: %w", n.field+3, err)
		}
	}
	for _, d := range []struct {
		field int
		to    *time.Duration
	}{{11, &s.User}, {12, &s.System}} {
		ticks, err := strconv.ParseInt(string(f[d.field]), 10, 64)
		if err != nil {
			return Stat{}, fmt.Errorf("stat: field %d: %w", d.field+3, err)
		}
		*d.to = time.Duration(ticks) * Tick
	}
	return s, nil
}

// ReadStat reads /proc/PID/stat.
func ReadStat(pid int) (Stat, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return Stat{}, err
	}
	return ParseStat(text)
}

// Group is the processes of a process group, zombies left out, in the order
// of their ids. Workers that a server starts are in the group of the server.
func Group(pgid int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue // not a process
		}
		s, err := ReadStat(pid)
		if err != nil {
			continue // it has ended meanwhile
		}
		if s.PGRP == pgid && s.State != 'Z' {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
