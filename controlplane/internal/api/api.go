// Package api is the control plane's HTTP API: whether it lives and is ready,
// its metrics, what it knows (services, endpoints, clients), and the objects of
// the store, which it reads and writes. Everything but the metrics is JSON. What
// refuses a request is an Error.
//
// There are no tokens in this version: who can connect may write. So that no
// page of the web does it through somebody's browser, names that point to
// loopback, requests from other origins and bodies that are not JSON are
// refused. Every write leaves one line in the log.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/mesh"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/object"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/store"
)

const (
	headTimeout     = 10 * time.Second
	readTimeout     = time.Minute // of a whole body
	writeTimeout    = 2 * time.Minute
	idleTimeout     = 2 * time.Minute
	shutdownTimeout = 3 * time.Second
	maxHeaderBytes  = 64 << 10
	maxBodyBytes    = 32 << 20
)

// Options is what the API shows.
type Options struct {
	// Ready says what the control plane still waits for; empty: it is ready.
	Ready    func() string
	Snapshot func() *mesh.Snapshot
	// Proxies are the connected xDS clients, as something that marshals to JSON.
	Proxies func() any
	Metrics prometheus.Gatherer
	Logger  *slog.Logger
	Store   store.Collections
	// Elsewhere is who has an object whose word holds against the store's.
	Elsewhere func(object.ID) (mesh.Holder, bool)
	// Status is the state of the whole in short, as something that marshals to
	// JSON.
	Status func(context.Context) (any, error)
}

// views are the parts of the API that show what is, under /v1/.
var views = []string{"endpoints", "proxies", "services", "status"}

// New makes the API's handler.
func New(o Options) http.Handler {
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.HandleMethodNotAllowed = true
	e.RedirectTrailingSlash = false
	e.Use(gin.CustomRecoveryWithWriter(nil, func(c *gin.Context, p any) {
		o.Logger.Error("a request crashed its handler", "component", "api", "path", c.Request.URL.Path, "panic", fmt.Sprint(p))
		fail(c, failure(http.StatusInternalServerError, ReasonInternal, "internal error"))
	}))
	e.Use(noBrowsers(), limitBody)
	e.NoRoute(func(c *gin.Context) {
		fail(c, failure(http.StatusNotFound, ReasonNotFound, "there is nothing here; / lists what there is"))
	})
	e.NoMethod(func(c *gin.Context) {
		fail(c, failure(http.StatusMethodNotAllowed, ReasonMethod, "%s is not for this path, %s is", c.Request.Method, c.Writer.Header().Get("Allow")))
	})
	show := func(path string, what func(*gin.Context) (any, error)) {
		e.GET(path, func(c *gin.Context) {
			v, err := what(c)
			if err != nil {
				fail(c, err)
				return
			}
			c.JSON(http.StatusOK, v)
		})
	}
	show("/", func(*gin.Context) (any, error) { return gin.H{"paths": paths()}, nil })
	show("/healthz", func(*gin.Context) (any, error) { return gin.H{"status": "ok"}, nil })
	e.GET("/readyz", func(c *gin.Context) {
		if reason := o.Ready(); reason != "" {
			c.JSON(http.StatusServiceUnavailable, gin.H{"status": "not ready", "reason": reason})
			return
		}
		c.JSON(http.StatusOK, gin.H{"status": "ready"})
	})
	e.GET("/metrics", gin.WrapH(promhttp.HandlerFor(o.Metrics, promhttp.HandlerOpts{})))
	show("/v1/services", func(c *gin.Context) (any, error) {
		return gin.H{"services": services(o.Snapshot(), c.Query("namespace"))}, nil
	})
	show("/v1/endpoints", func(c *gin.Context) (any, error) {
		return gin.H{"endpoints": endpoints(o.Snapshot(), c.Query("namespace"), c.Query("service"))}, nil
	})
	show("/v1/proxies", func(*gin.Context) (any, error) { return gin.H{"proxies": o.Proxies()}, nil })
	show("/v1/status", func(c *gin.Context) (any, error) { return o.Status(c.Request.Context()) })
	newObjects(o).register(e)
	return e
}

// paths is what there is, for people.
func paths() []string {
	all := []string{"/healthz", "/metrics", "/readyz"}
	for _, v := range views {
		all = append(all, "/v1/"+v)
	}
	for _, k := range object.Kinds {
		name := "{namespace}/{name}"
		if k.Global {
			name = "{name}"
		}
		all = append(all, "/v1/"+k.Plural, "/v1/"+k.Plural+"/"+name, "/v1/"+k.Plural+":apply")
	}
	return all
}

// noBrowsers refuses requests that a page of the web has a browser make: from
// another origin, or to a name that its owner points to loopback (DNS
// rebinding), which is neither an address nor localhost.
func noBrowsers() gin.HandlerFunc {
	origins := http.NewCrossOriginProtection()
	return func(c *gin.Context) {
		if err := origins.Check(c.Request); err != nil {
			fail(c, failure(http.StatusForbidden, ReasonForbidden, "a page of another origin may not write here: %v", err))
			return
		}
		host := c.Request.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		host = strings.Trim(host, "[]")
		_, err := netip.ParseAddr(host)
		if err != nil && host != "localhost" && !strings.HasSuffix(host, ".localhost") && atLoopback(c.Request) {
			fail(c, failure(http.StatusForbidden, ReasonForbidden,
				"the Host must be an address or localhost, so that no web page can reach this API through a browser"))
		}
	}
}

// atLoopback reports whether the request came to a loopback address.
func atLoopback(r *http.Request) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return !ok || local.IP.IsLoopback()
}

func limitBody(c *gin.Context) {
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxBodyBytes)
}

// Serve serves h on l until ctx ends, then lets requests finish for a moment.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve the API: %w", err)
	case <-ctx.Done():
	}
	stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	err := srv.Shutdown(stop)
	if err != nil {
		err = srv.Close()
	}
	if serr := <-served; !errors.Is(serr, http.ErrServerClosed) {
		err = errors.Join(err, serr)
	}
	if err != nil {
		return fmt.Errorf("stop the API: %w", err)
	}
	return nil
}
