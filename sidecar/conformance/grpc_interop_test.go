package conformance

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// interopCases are those of grpc-go's interop client that need no account with a
// cloud, and that grpc-go's own server can serve; what each does is in
// https://github.com/grpc/grpc/blob/master/doc/interop-test-descriptions.md.
var interopCases = []string{
	"empty_unary", "large_unary", "client_streaming", "server_streaming", "ping_pong", "empty_stream",
	"timeout_on_sleeping_server", "cancel_after_begin", "cancel_after_first_response", "status_code_and_message",
	"special_status_message", "custom_metadata", "unimplemented_method", "unimplemented_service",
	"orca_per_rpc", "orca_oob", "rpc_soak", "channel_soak",
}

// TestGRPCInterop runs grpc-go's interop client against its server through two
// sidecars.
func TestGRPCInterop(t *testing.T) {
	t.Parallel()
	address := startMesh(t, startPeer(t, peer(t, "interopserver")))
	interop(t, "-target", address, "-authority", service)
}

// interop runs all cases with one client.
func interop(t *testing.T, args ...string) {
	t.Helper()
	command := append([]string{peer(t, "interopclient")}, args...)
	out, err := runPeer(t, 2*time.Minute, append(command, interopCases...)...)
	var passed []string
	for line := range strings.Lines(out) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "passed" {
			passed = append(passed, words[1])
		}
	}
	if err != nil || !slices.Equal(passed, interopCases) {
		t.Errorf("%v; passed: %v\nof           %v", err, passed, interopCases)
	}
}
