package xds

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/outrigger-mesh/outrigger/internal/ads"
	"github.com/outrigger-mesh/outrigger/registry"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/route"
)

func seed(f *testing.F, messages ...proto.Message) {
	for _, m := range messages {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

// checkRoutes checks what those who take routes rely on.
func checkRoutes(t *testing.T, cfg *route.Config) {
	for _, vh := range cfg.VirtualHosts {
		for _, r := range vh.Routes {
			if (r.Status == 0) == (len(r.Clusters) == 0) {
				t.Errorf("a route has %d clusters and status %d", len(r.Clusters), r.Status)
			}
			if (r.Match.PathKind == route.PathRegexp) != (r.Match.Regexp != nil) {
				t.Error("a route's path kind and expression disagree")
			}
			if r.Timeout < 0 {
				t.Errorf("a timeout is %v", r.Timeout)
			}
			for _, c := range r.Clusters {
				if c.Name == "" || c.Weight == 0 {
					t.Errorf("a cluster %+v", c)
				}
			}
		}
	}
}

func FuzzDecodeListener(f *testing.F) {
	seed(f, rdsListener("l", "r"), inlineListener("l", routesTo("r", "a", "b")))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := decodeListener("l", &anypb.Any{TypeUrl: ads.ListenerType, Value: b})
		if err != nil {
			return
		}
		if (l.rds == "") == (l.inline == nil) {
			t.Errorf("both or neither of %q and %v", l.rds, l.inline)
		}
		if l.inline != nil {
			checkRoutes(t, l.inline)
		}
	})
}

func FuzzDecodeRoutes(f *testing.F) {
	seed(f, routesTo("r", "a", "b"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if cfg, err := decodeRoutes("r", &anypb.Any{TypeUrl: ads.RouteType, Value: b}); err == nil {
			checkRoutes(t, cfg)
		}
	})
}

func FuzzDecodeCluster(f *testing.F) {
	seed(f, edsCluster("c"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeCluster("c", &anypb.Any{TypeUrl: ads.ClusterType, Value: b})
		if err == nil && (c.eds == "" || !c.cfg.Protocol.Valid() || c.cfg.ConnectTimeout < 0) {
			t.Errorf("took %+v", c)
		}
	})
}

func FuzzDecodeEndpoints(f *testing.F) {
	seed(f, assignmentOf("e", "10.0.0.1:80", "10.0.0.2:80"))
	f.Fuzz(func(t *testing.T, b []byte) {
		eps, err := decodeEndpoints("e", &anypb.Any{TypeUrl: ads.EndpointType, Value: b})
		if err != nil {
			return
		}
		for _, e := range eps {
			if err := registry.CheckHostPort(e.Address, false); err != nil || e.Weight == 0 {
				t.Errorf("took %+v: %v", e, err)
			}
		}
	})
}
