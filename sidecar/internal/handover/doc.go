// Package handover gives the place of a running process to a new one without a
// moment in which nobody listens.
//
// The old process (the predecessor) starts the new one (the successor) itself,
// so that it has the same user, environment, folder and control group, and
// gives it the listening sockets as open files and one end of a socket pair to
// talk over. What is said there, one JSON object a line:
//
//	predecessor                successor
//	state             ->                        who it is, what the sockets are
//	                  <-       waiting …        what it waits for, for people
//	                  <-       ready            everything is bound, known and healthy
//	take              ->                        the point of no return
//	                  <-       taken            it listens, and is registered
//
// Until take nothing of the old process has changed: a successor that fails,
// says failed or is silent for too long is ended, and that was all. An old
// process that is killed meanwhile has left its place: the successor notices the
// end of the line and takes over as it is, for nobody else serves. Between
// take and taken both listen; the kernel gives each connection to one of them.
// After taken the old one closes its sockets, which are still open in the new
// one, so that connections waiting in their queues are not lost.
//
// Who asks for it is a command of the new program, over a Unix socket that only
// the same user and root may use.
package handover
