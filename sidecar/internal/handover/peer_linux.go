package handover

import (
	"fmt"
	"net"
	"os"
	"syscall"
)

// checkPeer refuses clients of other users: what they ask for is run as ours.
// The file's mode says the same, where the file system keeps it.
func checkPeer(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var peer *syscall.Ucred
	var failed error
	if err := raw.Control(func(fd uintptr) {
		peer, failed = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if failed != nil {
		return fmt.Errorf("who asks cannot be known: %w", failed)
	}
	return checkUser(int(peer.Uid), os.Geteuid())
}
