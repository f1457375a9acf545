package ads

import (
	"log/slog"
	"math/rand/v2"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/outrigger-mesh/outrigger/registry"
)

// Node is who the client says it is, in the first request of each stream.
type Node struct {
	ID       string
	Cluster  string // the namespace of a sidecar
	Locality registry.Locality
	Metadata map[string]string
	Agent    string // the program, such as outrigger-sidecar
	Version  string // of the program
}

func (n Node) proto() *corev3.Node {
	p := &corev3.Node{Id: n.ID, Cluster: n.Cluster, UserAgentName: n.Agent}
	if n.Version != "" {
		p.UserAgentVersionType = &corev3.Node_UserAgentVersion{UserAgentVersion: n.Version}
	}
	if n.Locality != (registry.Locality{}) {
		p.Locality = &corev3.Locality{
			Region: n.Locality.Region, Zone: n.Locality.Zone, SubZone: n.Locality.Subzone,
		}
	}
	if len(n.Metadata) > 0 {
		p.Metadata = &structpb.Struct{Fields: make(map[string]*structpb.Value, len(n.Metadata))}
		for k, v := range n.Metadata {
			p.Metadata.Fields[k] = structpb.NewStringValue(v)
		}
	}
	return p
}

// Backoff is how long to wait between attempts to connect: twice as long each
// time, from Min up to Max, with half of it left to chance so that many
// clients of one restarted server do not come back at once.
type Backoff struct {
	Min time.Duration // of the first retry; zero: DefaultFirstBackoff
	Max time.Duration // zero: DefaultBackoffLimit
}

// The defaults of Backoff: a restarted control plane is found within seconds.
const (
	DefaultFirstBackoff = 100 * time.Millisecond
	DefaultBackoffLimit = 5 * time.Second
)

// Delay is the wait before the retry after so many failures in a row, the
// first being 1.
func (b Backoff) Delay(failures int) time.Duration {
	lo, hi := b.Min, b.Max
	if lo <= 0 {
		lo = DefaultFirstBackoff
	}
	if hi <= 0 {
		hi = DefaultBackoffLimit
	}
	d := lo
	for i := 1; i < failures && d < hi; i++ {
		d *= 2
	}
	d = min(d, hi)
	return d/2 + rand.N(d/2+1)
}

// Options are a client's settings. Server and Node.ID must be set.
type Options struct {
	Dial    DialOptions
	Node    Node
	Backoff Backoff
	Logger  *slog.Logger // nil: nothing is logged
}

// The bounds of what a server may make a client hold. They are far above what
// a mesh needs and keep a server gone wrong from taking the process with it.
const (
	maxHeld        = 1 << 20 // resources of one type
	maxErrorDetail = 4 << 10 // bytes of reasons in one NACK
	maxNacks       = 16      // kept for Status
)
