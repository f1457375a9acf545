package procfs

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Memory is what processes have resident, in bytes. Over several processes
// RSS counts a page that they share once for each of them; PSS gives each its
// part of it, so that sums are right.
type Memory struct {
	RSS  int64 `json:"rss"`
	Anon int64 `json:"anon"` // of RSS: heap, stacks, what was written to
	File int64 `json:"file"` // of RSS: the program itself and its libraries
	// PSS is 0 where the system does not tell it.
	PSS int64 `json:"pss"`
}

// Add is the sum of both.
func (m Memory) Add(o Memory) Memory {
	return Memory{RSS: m.RSS + o.RSS, Anon: m.Anon + o.Anon, File: m.File + o.File, PSS: m.PSS + o.PSS}
}

// MemoryOf is the memory of processes together.
func MemoryOf(pids []int) (Memory, error) {
	var sum Memory
	for _, pid := range pids {
		dir := "/proc/" + strconv.Itoa(pid)
		status, err := os.ReadFile(dir + "/status")
		if err != nil {
			return Memory{}, err
		}
		m, err := parseStatus(status)
		if err != nil {
			return Memory{}, fmt.Errorf("process %d: %w", pid, err)
		}
		// It takes the right to trace the process, and a kernel that has it.
		rollup, err := os.ReadFile(dir + "/smaps_rollup")
		if err != nil && !errors.Is(err, os.ErrPermission) && !errors.Is(err, os.ErrNotExist) {
			return Memory{}, err
		}
		if err == nil {
			if m.PSS, err = parseRollup(rollup); err != nil {
				return Memory{}, fmt.Errorf("process %d: %w", pid, err)
			}
		}
		sum = sum.Add(m)
	}
	return sum, nil
}

// parseStatus parses /proc/PID/status.
func parseStatus(text []byte) (Memory, error) {
	found, err := sizes(text, "VmRSS", "RssAnon", "RssFile", "RssShmem")
	if err != nil {
		return Memory{}, err
	}
	rss, ok := found["VmRSS"]
	if !ok {
		return Memory{}, errors.New("status: no VmRSS: the process has ended, or is the kernel's")
	}
	return Memory{RSS: rss, Anon: found["RssAnon"], File: found["RssFile"] + found["RssShmem"]}, nil
}

// parseRollup is the Pss of /proc/PID/smaps_rollup.
func parseRollup(text []byte) (int64, error) {
	found, err := sizes(text, "Pss")
	if err != nil {
		return 0, err
	}
	pss, ok := found["Pss"]
	if !ok {
		return 0, errors.New("smaps_rollup: no Pss")
	}
	return pss, nil
}

// sizes is the lines "Key: 12 kB" of the keys, in bytes.
func sizes(text []byte, keys ...string) (map[string]int64, error) {
	found := map[string]int64{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ":")
		if !slices.Contains(keys, key) {
			continue
		}
		number, isSize := strings.CutSuffix(strings.TrimSpace(value), " kB")
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil || !isSize {
			return nil, fmt.Errorf("%s: expected a number of kB, found %q", key, value)
		}
		found[key] = n * 1024
	}
	return found, lines.Err()
}
