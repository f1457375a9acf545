package hop

import (
	"slices"
	"time"

	"github.com/outrigger-mesh/outrigger/bench/internal/peer"
)

// The peers that others are divided by: nginx, and HAProxy where HTTP/2 is spoken
// on both sides, which nginx does not do.
var (
	base      = peer.Nginx().Name
	baseHTTP2 = peer.HAProxy().Name
)

// summarize is what turns come to, for each case and peer.
func summarize(cases []Case, peers []PeerInfo, turns []Turn) []Summary {
	var all []Summary
	for _, c := range cases {
		for _, p := range peers {
			if !slices.ContainsFunc(turns, func(t Turn) bool { return t.Case == c.Name && t.Peer == p.Name }) {
				continue // it does not take part
			}
			s := Summary{Case: c.Name, Peer: p.Name, Base: c.Base}
			fig := func(measure string, get func(*Turn) float64) Figure {
				return figure(rounds(turns, measure, c.Name, p.Name, get), rounds(turns, measure, c.Name, c.Base, get))
			}
			s.CPU = fig(Throughput, (*Turn).cpuMicros)
			s.PerSecond = fig(Throughput, (*Turn).perSecond)
			s.P50 = fig(Latency, func(t *Turn) float64 { return micros(t.Latency.P50) })
			s.P99 = fig(Latency, func(t *Turn) float64 { return micros(t.Latency.P99) })
			s.P999 = fig(Latency, func(t *Turn) float64 { return micros(t.Latency.P999) })
			for i := range turns {
				if t := &turns[i]; t.Measure == Latency && t.Case == c.Name && t.Peer == p.Name && t.Failure == "" {
					s.Rate = t.Rate
					if t.saturated() {
						s.Saturated++
					}
				}
			}
			all = append(all, s)
		}
	}
	return all
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// rounds is a figure of a peer by round, of the turns that count.
func rounds(turns []Turn, measure, of, name string, get func(*Turn) float64) map[int]float64 {
	figures := map[int]float64{}
	for i := range turns {
		if t := &turns[i]; t.Measure == measure && t.Case == of && t.Peer == name && t.Failure == "" {
			figures[t.Round] = get(t)
		}
	}
	return figures
}
