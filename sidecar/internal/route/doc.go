// Package route decides where a request goes: tables are compiled once from
// plain configuration, never changed, and swapped as a whole by an atomic
// pointer, so that matching takes no lock.
package route
