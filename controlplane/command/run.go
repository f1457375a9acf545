package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"syscall"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/api"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/mesh"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/source"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/source/file"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/source/sidecar"
	objects "github.com/outrigger-mesh/outrigger/controlplane/internal/source/store"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/store/bolt"
	xds "github.com/outrigger-mesh/outrigger/controlplane/internal/xds/serve"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/xds/translate"
	"github.com/outrigger-mesh/outrigger/internal/run"
	"github.com/outrigger-mesh/outrigger/internal/version"
)

// pending is how many updates of sources may wait for the mesh.
const pending = 256

// check loads everything that serve would, and starts nothing.
func check(name string, stdout io.Writer) error {
	cfg, err := Load(name)
	if err != nil {
		return err
	}
	files := newFiles(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err := files.Load(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "configuration and objects are right: %d objects\n", files.Count())
	return err
}

// serve runs the control plane until ctx ends. It starts in the order of what
// depends on what; clients are let in last, when everything that is known
// (what the store remembers, what the files say) is being served: they never
// see less than that.
func serve(ctx context.Context, name string, stderr io.Writer) (err error) {
	cfg, err := Load(name)
	if err != nil {
		return err
	}
	level, err := run.ParseLevel(cfg.Log.Level)
	if err != nil {
		return err
	}
	log := run.NewLogger(stderr, cfg.Log.Format, level)
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))

	files := newFiles(cfg, log, metrics)
	if err := files.Load(); err != nil {
		return err
	}
	listeners, err := listen(ctx, cfg.Listen)
	if err != nil {
		return err
	}
	defer listeners.close()
	db, err := bolt.Open(bolt.Options{Path: cfg.path(cfg.Store.Bolt.Path)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()

	sidecars := sidecar.New(sidecar.Options{
		Logger: log, Store: db, Limits: sidecar.DefaultLimits(), Grace: cfg.Registration.Grace, Metrics: metrics,
	})
	now := &state{files: files, store: db}
	cache := xds.NewCache(xds.Options{Logger: log, Metrics: metrics, Locate: now.locate})
	if err := cache.Update(translate.Changes{Set: translate.Static()}); err != nil {
		return err
	}
	model := mesh.New(mesh.Options{
		// A file holds against the store: who runs the control plane can say what
		// nobody changes from afar.
		Logger: log, Sources: []string{sidecar.Name, file.Name, objects.Name}, Metrics: metrics,
		Publish: func(c mesh.Change) {
			if c.Hosts {
				cache.Relocate()
			}
			if err := cache.Update(translate.Change(c)); err != nil {
				log.Error("resources that could not be made stay as they were", "component", "xds", "error", err)
			}
		},
	})
	server := newGRPC(log, xds.NewServer(cache), sidecars)
	stored := objects.New(objects.Options{Logger: log, Store: db, Metrics: metrics})
	now.model, now.cache = model, cache
	handler := api.New(api.Options{
		Ready:     now.notReady,
		Snapshot:  model.Snapshot,
		Proxies:   func() any { return cache.Proxies() },
		Metrics:   metrics,
		Logger:    log,
		Store:     db,
		Elsewhere: now.elsewhere,
		Status:    now.status,
	})

	updates := make(chan source.Update, pending)
	var group run.Group
	group.Add("mesh", func(ctx context.Context) error { return model.Run(ctx, updates) })
	group.Add("files", func(ctx context.Context) error { return files.Run(ctx, updates) })
	group.Add("store", func(ctx context.Context) error { return stored.Run(ctx, updates) })
	group.Add("registration", func(ctx context.Context) error { return sidecars.Run(ctx, updates) })
	group.Add("xds", func(ctx context.Context) error {
		select {
		case <-model.Ready():
		case <-ctx.Done():
			return nil
		}
		log.Info("serving", "xds", listeners.xds.Addr().String(), "api", listeners.api.Addr().String(),
			"store", cfg.path(cfg.Store.Bolt.Path), "version", version.String())
		return server.run(ctx, listeners.xds)
	})
	group.Add("api", func(ctx context.Context) error { return api.Serve(ctx, listeners.api, handler) })
	err = group.Run(ctx)
	log.Info("stopped")
	return err
}

func newFiles(cfg *Config, log *slog.Logger, metrics prometheus.Registerer) *file.Source {
	return file.New(file.Options{Logger: log, Paths: cfg.objectPaths(), Metrics: metrics})
}

// listeners are the sockets of the program.
type listeners struct{ xds, api net.Listener }

// listen opens all sockets, or none. Its errors name the keys of those that
// could not be opened.
func listen(ctx context.Context, cfg Listen) (listeners, error) {
	var l listeners
	var errs []error
	for _, one := range []struct {
		key, address string
		to           *net.Listener
	}{{"listen.xds", cfg.XDS, &l.xds}, {"listen.api", cfg.API, &l.api}} {
		opened, err := (&net.ListenConfig{}).Listen(ctx, "tcp", one.address)
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			errs = append(errs, fmt.Errorf("%s: %s is in use", one.key, one.address))
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", one.key, err))
		default:
			*one.to = opened
		}
	}
	if err := errors.Join(errs...); err != nil {
		l.close()
		return listeners{}, err
	}
	return l, nil
}

// close closes the sockets that are open. To close one again does nothing.
func (l listeners) close() {
	for _, one := range []net.Listener{l.xds, l.api} {
		if one != nil {
			one.Close()
		}
	}
}
