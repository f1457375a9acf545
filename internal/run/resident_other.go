//go:build !linux

package run

// TrimResident does something on Linux alone.
func TrimResident() {}
