package conformance

import (
	"github.com/google/go-cmp/cmp"
	"testing"
	"time"
)

func TestProveH2Spec(t *testing.T) {
	h2spec(t, "h2c", startAppH2(t, counting))
}

func TestProveInterop(t *testing.T) {
	interop(t, "-target", startPeer(t, peer(t, "interopserver")), "-authority", service)
}

func TestProveNode(t *testing.T) {
	address := startPeer(t, nodePeer(t, "server.js")...)
	out, err := runPeer(t, time.Minute, append(nodePeer(t, "client.js"), address, service)...)
	if diff := cmp.Diff(nodeWant, out); diff != "" || err != nil {
		t.Errorf("%v; through two sidecars it is not what it is without (-without +through):\n%s", err, diff)
	}
}

func TestProveH2Load(t *testing.T) {
	h2load(t, "http://"+startAppH2(t, counting), 20000, "-c", "10", "-m", "100")
	curl(t, "http://"+startAppH2(t, sized), "--http1.1", "1.1")
	curl(t, "http://"+startAppH2(t, sized), "--http2-prior-knowledge", "2")
}
