// Package store is the source of the objects that were applied through the
// API: it watches the store's collections. Each object is one key, so that a
// change costs what has changed; what one apply has changed is published
// together.
//
// A store that fails is asked again, and everything stays as it is meanwhile.
// An object that this version cannot read (a newer one wrote it) keeps what was
// last known of it, is logged and counted.
package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/object"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/source"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/store"
)

const (
	// Name is the source's name in the mesh.
	Name = "store"
	// page is how many objects are read at once.
	page = 1000
	// retry is how long a store that failed is left alone.
	retry = time.Second
)

// Options is what a Source needs.
type Options struct {
	Logger  *slog.Logger
	Store   store.Collections
	Metrics prometheus.Registerer
}

// Source sends the objects of the store.
type Source struct {
	log     *slog.Logger
	store   store.Collections
	metrics *metrics
}

var _ source.Source = (*Source)(nil)

// New makes a Source.
func New(o Options) *Source {
	return &Source{log: o.Logger.With("component", "store"), store: o.Store, metrics: newMetrics(o.Metrics)}
}

// Run sends what the store has, then what changes in it, until ctx ends. A
// store that cannot be read at the start is an error.
func (s *Source) Run(ctx context.Context, out chan<- source.Update) error {
	watches := make([]*watch, 0, len(object.Kinds))
	for _, k := range object.Kinds {
		w := &watch{Source: s, kind: k, known: map[string]struct{}{}, bad: map[string]struct{}{}}
		err := w.relist(ctx, out)
		select {
		case <-ctx.Done():
			return nil // perhaps in the middle: this is not to be taken for all there is
		default:
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", k.Plural, err)
		}
		watches = append(watches, w)
	}
	if !source.Send(ctx, out, source.Update{Source: Name, Synced: true}) {
		return nil
	}
	// One at a time: what belongs together must not be mixed with another's.
	var turn sync.Mutex
	var running sync.WaitGroup
	for _, w := range watches {
		running.Go(func() { w.run(ctx, out, &turn) })
	}
	running.Wait()
	return nil
}

// watch is one collection.
type watch struct {
	*Source
	kind     object.Kind
	revision store.Revision
	known    map[string]struct{} // the keys that were sent
	bad      map[string]struct{} // those that cannot be read
}

// run sends changes until ctx ends.
func (w *watch) run(ctx context.Context, out chan<- source.Update, turn *sync.Mutex) {
	for ctx.Err() == nil {
		change, err := w.store.Watch(ctx, w.kind.Plural, w.revision)
		turn.Lock()
		switch {
		case errors.Is(err, store.ErrCompacted):
			err = w.relist(ctx, out)
		case err == nil:
			w.send(ctx, out, w.updates(change))
			w.revision = change.Revision
		}
		turn.Unlock()
		if err == nil || ctx.Err() != nil {
			continue
		}
		w.metrics.errors.Inc()
		w.log.Error("the store cannot be read, what is known of it stays", "collection", w.kind.Plural, "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(retry):
		}
	}
}

// relist sends everything that the collection has, and takes back what it has
// no more.
func (w *watch) relist(ctx context.Context, out chan<- source.Update) error {
	var all store.Change
	o := store.ListOptions{Limit: page}
	for {
		p, err := w.store.List(ctx, w.kind.Plural, o)
		if err != nil {
			return err
		}
		all.Revision, all.Put = p.Revision, append(all.Put, p.Items...)
		if !p.More {
			break
		}
		o.At, o.After = p.Revision, p.Items[len(p.Items)-1].Key
	}
	there := make(map[string]struct{}, len(all.Put))
	for _, item := range all.Put {
		there[item.Key] = struct{}{}
	}
	for key := range w.known {
		if _, ok := there[key]; !ok {
			all.Delete = append(all.Delete, key)
		}
	}
	w.send(ctx, out, w.updates(all))
	w.revision = all.Revision
	return nil
}

// send sends updates as one change.
func (w *watch) send(ctx context.Context, out chan<- source.Update, updates []source.Update) {
	for i, u := range updates {
		u.More = i < len(updates)-1
		if !source.Send(ctx, out, u) {
			return
		}
	}
}

// updates are what a change of the collection means for the mesh.
func (w *watch) updates(c store.Change) []source.Update {
	updates := make([]source.Update, 0, len(c.Put)+len(c.Delete))
	for _, item := range c.Put {
		o, err := object.DecodeStored(w.kind, item.Key, item.Value)
		if err != nil {
			w.bad[item.Key] = struct{}{}
			w.log.Error("a stored object cannot be read, what is known of it stays",
				"collection", w.kind.Plural, "key", item.Key, "error", err)
			continue
		}
		delete(w.bad, item.Key)
		created(o, item.Created)
		w.known[item.Key] = struct{}{}
		updates = append(updates, source.Update{Source: Name, Key: w.key(item.Key), Content: source.Of(o)})
	}
	for _, key := range c.Delete {
		delete(w.bad, key)
		if _, ok := w.known[key]; ok {
			delete(w.known, key)
			updates = append(updates, source.Update{Source: Name, Key: w.key(key)})
		}
	}
	w.metrics.bad.WithLabelValues(w.kind.Plural).Set(float64(len(w.bad)))
	w.metrics.objects.WithLabelValues(w.kind.Plural).Set(float64(len(w.known)))
	return updates
}

func (w *watch) key(key string) string { return w.kind.Plural + "/" + key }

// created sets when the object came into the store: the older of two routes
// that conflict wins. Seconds are what objects show.
func created(o object.Object, at time.Time) {
	at = at.Truncate(time.Second)
	switch o := o.(type) {
	case *object.MeshService:
		o.Created = at
	case *object.HTTPRoute:
		o.Created = at
	case *object.Host:
		o.Created = at
	}
}
