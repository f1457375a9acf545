package run

import (
	"bufio"
	"bytes"
	"os"
	"strconv"
	"syscall"
	"unsafe"
)

// TrimResident gives back what of the program's own file is mapped into memory
// but was only used to start: initial values, descriptors of protocols, code
// that runs once. What is needed again is mapped again from the page cache, for
// a minor page fault each 64 KiB. It is to be called once, when the program
// serves. Where it cannot be done, nothing is.
func TrimResident() {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	s := bufio.NewScanner(bytes.NewReader(maps))
	for s.Scan() {
		if start, size, ok := ownReadOnly(s.Bytes(), exe); ok {
			// Clean pages of a file, which nobody can have written to: the call
			// loses nothing, and its failure changes nothing.
			_, _, _ = syscall.Syscall(syscall.SYS_MADVISE, start, size, syscall.MADV_DONTNEED)
		}
	}
}

// ownReadOnly reads a line of /proc/self/maps: address range, permissions,
// offset, device, inode, path (proc_pid_maps(5)).
func ownReadOnly(line []byte, exe string) (start, size uintptr, ok bool) {
	fields := bytes.Fields(line)
	if len(fields) < 6 || string(fields[5]) != exe || len(fields) > 6 {
		return 0, 0, false
	}
	if perm := fields[1]; len(perm) != 4 || perm[0] != 'r' || perm[1] == 'w' || perm[3] != 'p' {
		return 0, 0, false
	}
	from, to, ok := bytes.Cut(fields[0], []byte{'-'})
	if !ok {
		return 0, 0, false
	}
	a, err1 := strconv.ParseUint(string(from), 16, 64)
	b, err2 := strconv.ParseUint(string(to), 16, 64)
	if err1 != nil || err2 != nil || b <= a || unsafe.Sizeof(a) < unsafe.Sizeof(start) {
		return 0, 0, false
	}
	return uintptr(a), uintptr(b - a), true
}
