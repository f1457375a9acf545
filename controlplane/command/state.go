package command

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/api"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/mesh"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/object"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/source/file"
	objects "github.com/outrigger-mesh/outrigger/controlplane/internal/source/store"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/store"
	xds "github.com/outrigger-mesh/outrigger/controlplane/internal/xds/serve"
	"github.com/outrigger-mesh/outrigger/internal/version"
	"github.com/outrigger-mesh/outrigger/registry"
)

// maxRefusing bounds how many refusals the status tells.
const maxRefusing = 20

// state is what the API tells of the running control plane.
type state struct {
	model *mesh.Mesh
	cache *xds.Cache
	files *file.Source
	store store.Collections
}

// notReady is what is waited for; empty when the sources have synced.
func (s *state) notReady() string {
	select {
	case <-s.model.Ready():
		return ""
	default:
		return "the sources have not said yet what there is"
	}
}

// elsewhere is who has an object whose word holds against the store's.
func (s *state) elsewhere(id object.ID) (mesh.Holder, bool) {
	h, ok := s.model.Snapshot().Shared[id]
	if id.Kind == object.KindHost {
		h, ok = s.model.Hosts().Holder(id.Name)
	}
	return h, ok && h.Source != objects.Name
}

// locate says where an xDS client is: where the CMDB says that its host is, or
// else where it says to be itself.
func (s *state) locate(c xds.Client) xds.Place {
	place := xds.Place{Locality: c.Locality, Source: xds.FromNode}
	if c.Host == "" {
		return place
	}
	host, _ := s.model.Hosts().Find(c.Network, c.Host, "")
	if host == nil {
		return place
	}
	place.Host = host.Name
	if host.Spec.Locality != (registry.Locality{}) {
		place.Locality, place.Source = host.Spec.Locality, xds.FromHost
	}
	return place
}

func (s *state) status(ctx context.Context) (any, error) {
	snapshot := s.model.Snapshot()
	out := api.Status{
		Version: version.String(), NotReady: s.notReady(),
		Services: len(snapshot.Services), Hosts: s.model.Hosts().Count(), Routes: len(snapshot.Routes),
		Endpoints: api.CountEndpoints(snapshot), Proxies: proxyCounts(s.cache.Proxies()),
	}
	for _, one := range s.model.Sources() {
		status := api.SourceStatus{SourceStatus: one}
		if one.Name == file.Name {
			status.Problems = s.files.Problems()
		}
		out.Sources = append(out.Sources, status)
	}
	for _, k := range object.Kinds {
		page, err := s.store.List(ctx, k.Plural, store.ListOptions{Limit: 1})
		if err != nil {
			return nil, err
		}
		out.Collections = append(out.Collections, api.Collection{Kind: k.Plural, Revision: fmt.Sprint(page.Revision)})
	}
	return out, nil
}

func proxyCounts(proxies []xds.Proxy) api.ProxyCounts {
	n := api.ProxyCounts{Connected: len(proxies)}
	for _, p := range proxies {
		var reasons []string
		for name, t := range p.Types {
			if t.NACK != "" {
				reasons = append(reasons, fmt.Sprintf("%s: %s: %s", p.Node, name, t.NACK))
			}
		}
		if len(reasons) == 0 {
			continue
		}
		n.NACKs++
		slices.Sort(reasons)
		if len(n.Refusing) < maxRefusing {
			n.Refusing = append(n.Refusing, strings.Join(reasons, "; "))
		}
	}
	return n
}
