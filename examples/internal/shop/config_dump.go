package shop

import (
	"context"
	"fmt"
	"slices"

	"github.com/outrigger-mesh/outrigger/examples/internal/lab"
)

// clusters is what is looked at of a sidecar's GET /config/clusters.
type clusters []struct {
	Name      string `json:"name"`
	Endpoints []struct {
		Address string `json:"address"`
		Status  string `json:"status"`
	} `json:"endpoints"`
}

// EndpointsOf are the addresses that the sidecar whose admin port is at key
// may send requests for a cluster to, sorted. A cluster that it does not know
// has none.
func (s *Shop) EndpointsOf(ctx context.Context, key, cluster string) ([]string, error) {
	var all clusters
	if err := lab.GetJSON(ctx, "http://"+s.Addr(key)+"/config/clusters", &all); err != nil {
		return nil, fmt.Errorf("clusters of a sidecar: %w", err)
	}
	var addrs []string
	for _, c := range all {
		if c.Name != cluster {
			continue
		}
		for _, e := range c.Endpoints {
			if e.Status == "" || e.Status == "up" {
				addrs = append(addrs, e.Address)
			}
		}
	}
	slices.Sort(addrs)
	return addrs, nil
}
