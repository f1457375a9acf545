package xds

import (
	"slices"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/internal/ads"
)

// Status is what the config dump shows of the subscriptions.
type Status struct {
	Stream    ads.Status       `json:"stream"`
	Listeners []ListenerStatus `json:"listeners"`
	Clusters  []ClusterStatus  `json:"clusters"`
}

// ListenerStatus is one listener that is subscribed to.
type ListenerStatus struct {
	Name   string `json:"name"`
	State  string `json:"state"`            // unknown, absent or present, as the server said
	Routes string `json:"routes,omitempty"` // the route configuration it names
	// WaitingSince is set while something is awaited: its routes, or their
	// clusters, which WaitingFor names.
	WaitingSince time.Time `json:"waitingSince,omitzero"`
	WaitingFor   []string  `json:"waitingFor,omitempty"`
}

// ClusterStatus is one cluster that routes name.
type ClusterStatus struct {
	Name      string `json:"name"`
	State     string `json:"state"`
	Endpoints int    `json:"endpoints"`
}

// Status says what is subscribed to, and what is known of it.
func (c *Client) Status() Status {
	s := Status{Stream: c.ads.Status(), Listeners: []ListenerStatus{}, Clusters: []ClusterStatus{}}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, l := range c.graph.listeners {
		ls := ListenerStatus{Name: l.name, State: l.phase.String(), Routes: l.rds, WaitingSince: l.since}
		if !l.since.IsZero() {
			for n := range l.holds {
				if !c.graph.ready(c.graph.clusters[n]) {
					ls.WaitingFor = append(ls.WaitingFor, n)
				}
			}
			slices.Sort(ls.WaitingFor)
		}
		s.Listeners = append(s.Listeners, ls)
	}
	for _, cl := range c.graph.clusters {
		s.Clusters = append(s.Clusters, ClusterStatus{
			Name: cl.name, State: cl.phase.String(), Endpoints: len(cl.shownEps),
		})
	}
	slices.SortFunc(s.Listeners, func(a, b ListenerStatus) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(s.Clusters, func(a, b ClusterStatus) int { return strings.Compare(a.Name, b.Name) })
	return s
}

// staleness is how long the control plane has been away.
func (c *Client) staleness() time.Duration {
	connected, since := c.ads.Connected()
	if connected || since.IsZero() {
		return 0
	}
	return time.Since(since)
}

// sizes are the numbers of listeners and clusters subscribed to.
func (c *Client) sizes() (listeners, clusters int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.graph.listeners), len(c.graph.clusters)
}
