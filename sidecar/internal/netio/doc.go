// Package netio is connections for engines that do little per byte and much
// per second: reads and writes cost one system call each and no visit to the
// runtime's scheduler, time limits cost nothing until something waits, and a
// connection that waits needs no buffer.
//
// How: sockets of the net package never block, so that the scheduler need not
// be told of a read or a write, as the net package does it for calls that may
// sleep. A call that would have to wait parks its goroutine in the runtime's
// poller as ever. ADR 0011 has the measurements.
//
// One goroutine reads and one writes; these may be two. The rest may be called
// from anywhere.
package netio
