package conformance

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// nodeWant is what peers/node/client.js prints.
const nodeWant = `unary: hello 10, 20
empty:  0, 0
large: large 3000000, 3000000
metadata: x-one=a b, c x-many=1, 2, 3 x-raw-bin=00ff0a0d x-authority=grpc-test | x-end-one=a b, c x-end-many=1, 2, 3 x-end-raw-bin=00ff0a0d
much metadata: 12028 | 12010
error status: 9 FAILED_PRECONDITION "not so: ü, 中文 and 100%\n"
error status with trailers: 5 NOT_FOUND "gone" | x-one=1 x-authority=grpc-test | x-end-one=1
unknown method: UNIMPLEMENTED
server stream: 500 answers, 5000000 bytes, 0
server stream that fails: 3 answers, 10 ABORTED "amid"
client stream: 500 messages, 5000000 bytes
both ways, in turns: 200 answers, 199001 bytes, 0
both ways, at once: 2500 answers, 7500000 bytes, 0
many at once: 500 right
deadline: 4 DEADLINE_EXCEEDED
cancelled by the client: 1 CANCELLED "Cancelled on client"
the server knows: 2, 0
compressed: compressed 100000, 5
kept alive by pings: alive 0, 0
`

// TestGRPCOfNode lets grpc-js talk with itself through two sidecars: unary calls
// and all kinds of streams, metadata, status, deadlines and cancellation, of
// which the server has to hear, and a client that asks by pings whether the
// sidecar is alive.
func TestGRPCOfNode(t *testing.T) {
	t.Parallel()
	address := startMesh(t, startPeer(t, nodePeer(t, "server.js")...))
	out, err := runPeer(t, time.Minute, append(nodePeer(t, "client.js"), address, service)...)
	if diff := cmp.Diff(nodeWant, out); diff != "" || err != nil {
		t.Errorf("%v; through two sidecars it is not what it is without (-without +through):\n%s", err, diff)
	}
}
