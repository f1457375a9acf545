// Package source is what a source of the mesh's model is. Each source watches
// one thing, in a folder of its own (file, sidecar, store), and sends what it owns.
package source

import (
	"context"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/object"
	"github.com/outrigger-mesh/outrigger/registry"
)

// Source watches one thing. Run blocks until ctx ends or the source cannot go
// on. It first sends what is there, key by key, then an Update that is Synced,
// then changes. A source that cannot reach what it watches sends nothing: an
// error is never "there is nothing".
type Source interface {
	Run(ctx context.Context, out chan<- Update) error
}

// Update is one source's whole word on one key: it replaces all that the
// source said of that key before. An empty Content takes it back.
type Update struct {
	// Source is the name of the sender, as known to the mesh.
	Source string
	// Synced says that everything there was at the start has been sent. Such
	// an Update carries nothing else.
	Synced bool
	// Key is what the content is of: a file, a node, an object.
	Key     string
	Content Content
	// More says that the source's next update belongs to this one: nothing is
	// published in between. It follows at once.
	More bool
	// Done, if set, is called once the update is part of what is served, from
	// the mesh's goroutine: it must not block.
	Done func()
}

// Content is what a source may know. It is handed over with the Update: the
// sender does not change it any more.
type Content struct {
	Services  []*object.MeshService
	Routes    []*object.HTTPRoute
	Hosts     []*object.Host
	Instances []Instance
}

// Empty reports whether there is nothing in it.
func (c *Content) Empty() bool {
	return len(c.Services)+len(c.Routes)+len(c.Hosts)+len(c.Instances) == 0
}

// Of is the content of some objects.
func Of(objects ...object.Object) Content {
	var c Content
	for _, o := range objects {
		switch o := o.(type) {
		case *object.MeshService:
			c.Services = append(c.Services, o)
		case *object.HTTPRoute:
			c.Routes = append(c.Routes, o)
		case *object.Host:
			c.Hosts = append(c.Hosts, o)
		}
	}
	return c
}

// Instance is a registered instance and the epoch of the process that
// registered it. Where two instances claim one address, the later process has
// it.
type Instance struct {
	registry.Instance
	Epoch int64
}

// Send sends u unless ctx ends first; it reports whether it did.
func Send(ctx context.Context, out chan<- Update, u Update) bool {
	select {
	case out <- u:
		return true
	case <-ctx.Done():
		return false
	}
}
