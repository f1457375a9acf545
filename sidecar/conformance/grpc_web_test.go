package conformance

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// webWant is what peers/node/web.js prints.
const webWant = `text, unary: hello 10, 20 bytes, a b
text, large: large 1000000, 1000001 bytes, undefined
text, status: 9 "not so: ü, 中文 and 100%"
text, deadline: 4 "the time allowed for this request was over before it came here"
text, nothing:  0, 0 bytes, undefined
text, stream: 500 answers, 500500 bytes
text, stream that fails: 3 answers, 10 "amid"
binary, unary: hello 10, 20 bytes, a b
binary, large: large 1000000, 1000001 bytes, undefined
binary, status: 9 "not so: ü, 中文 and 100%"
binary, deadline: 4 "the time allowed for this request was over before it came here"
binary, nothing:  0, 0 bytes, undefined
`

// TestGRPCOfBrowsers lets grpc-web's own client, on a browser's XMLHttpRequest,
// call a server of grpc-js through a sidecar that translates and one beside the
// server.
func TestGRPCOfBrowsers(t *testing.T) {
	t.Parallel()
	grpc := strings.NewReplacer("APP", startPeer(t, nodePeer(t, "server.js")...), "PROTOCOL", "grpc")
	in := startSidecar(t, grpc.Replace(inboundH2YAML))
	web := strings.NewReplacer("APP", in.address(), "PROTOCOL", "grpc", "outbound: []", "outbound: [metrics, grpcweb, timeout, retry]")
	out := startSidecar(t, web.Replace(outboundH2YAML))
	got, err := runPeer(t, time.Minute, append(nodePeer(t, "web.js"), out.address(), service)...)
	if diff := cmp.Diff(webWant, got); diff != "" || err != nil {
		t.Errorf("%v; (-want +got):\n%s", err, diff)
	}
}
