package node

import (
	"github.com/outrigger-mesh/outrigger/internal/balance"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/config"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/upstream"
)

// equipClusters gives the clusters what they have from the node.
func (s *Node) equipClusters(n config.Node) error {
	return s.clusters.Use(upstream.Options{
		Logger:     s.component("upstream"),
		Registerer: s.metrics,
		Balance:    balance.Options{Region: n.Region, Zone: n.Zone},
	})
}

// staticCluster is the cluster of a service of the configuration file.
func staticCluster(name string, u config.Upstream) (upstream.Config, []upstream.EndpointConfig) {
	endpoints := make([]upstream.EndpointConfig, 0, len(u.Endpoints))
	for _, e := range u.Endpoints {
		endpoints = append(endpoints, upstream.EndpointConfig{Address: e.Address, Weight: e.Weight, Locality: e.Locality()})
	}
	return upstream.Config{
		Name: name, Protocol: u.Protocol, ConnectTimeout: u.ConnectTimeout, Settings: &u.Settings,
	}, endpoints
}
