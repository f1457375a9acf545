// Package api is the control plane's HTTP API: whether it lives and is ready,
// its metrics, and what it knows, as JSON, read-only.
package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/mesh"
	"github.com/outrigger-mesh/outrigger/registry"
)

const (
	readTimeout     = 10 * time.Second
	writeTimeout    = 30 * time.Second
	idleTimeout     = 2 * time.Minute
	shutdownTimeout = 3 * time.Second
	maxHeaderBytes  = 64 << 10
	maxBodyBytes    = 1 << 20
)

// Options is what the API shows.
type Options struct {
	// Ready says what the control plane still waits for; empty: it is ready.
	Ready    func() string
	Snapshot func() *mesh.Snapshot
	// Proxies are the connected xDS clients, as something that marshals to JSON.
	Proxies func() any
	Metrics prometheus.Gatherer
}

// Service is a service of the mesh in the API.
type Service struct {
	registry.ServiceName
	Declared bool   `json:"declared"` // by a MeshService; otherwise its instances imply it
	Ports    []Port `json:"ports"`
}

// Port is a service's port in the API.
type Port struct {
	registry.Port
	XDS       string `json:"xds"` // its name over xDS
	Endpoints int    `json:"endpoints"`
	Up        int    `json:"up"` // of them, those that take requests
}

// Endpoint is one instance behind a service's port in the API.
type Endpoint struct {
	XDS string `json:"xds"` // the service port's name over xDS
	mesh.Instance
}

// New makes the API's handler.
func New(o Options) http.Handler {
	gin.SetMode(gin.ReleaseMode)
	e := gin.New()
	e.HandleMethodNotAllowed = true
	e.Use(gin.CustomRecoveryWithWriter(nil, func(c *gin.Context, _ any) { fail(c, http.StatusInternalServerError, "internal error") }))
	e.Use(localHostOnly, limitBody)
	e.NoRoute(func(c *gin.Context) {
		fail(c, http.StatusNotFound, "there is nothing here; / lists what there is")
	})
	e.NoMethod(func(c *gin.Context) { fail(c, http.StatusMethodNotAllowed, "the API is read-only") })

	paths := []string{"/healthz", "/readyz", "/metrics", "/v1/services", "/v1/endpoints", "/v1/proxies"}
	e.GET("/", func(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"paths": paths}) })
	e.GET("/healthz", func(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"status": "ok"}) })
	e.GET("/readyz", func(c *gin.Context) {
		if reason := o.Ready(); reason != "" {
			c.JSON(http.StatusServiceUnavailable, gin.H{"status": "not ready", "reason": reason})
			return
		}
		c.JSON(http.StatusOK, gin.H{"status": "ready"})
	})
	e.GET("/metrics", gin.WrapH(promhttp.HandlerFor(o.Metrics, promhttp.HandlerOpts{})))
	e.GET("/v1/services", func(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"services": services(o.Snapshot())}) })
	e.GET("/v1/endpoints", func(c *gin.Context) {
		c.JSON(http.StatusOK, gin.H{"endpoints": endpoints(o.Snapshot(), c.Query("namespace"), c.Query("service"))})
	})
	e.GET("/v1/proxies", func(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"proxies": o.Proxies()}) })
	return e
}

func fail(c *gin.Context, code int, reason string) {
	c.AbortWithStatusJSON(code, gin.H{"error": http.StatusText(code), "reason": reason})
}

// localHostOnly refuses requests that a page of the web has a browser make: a
// name that its owner points to this address (DNS rebinding) is neither an
// address nor localhost.
func localHostOnly(c *gin.Context) {
	host := c.Request.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	if _, err := netip.ParseAddr(host); err != nil && host != "localhost" && !strings.HasSuffix(host, ".localhost") {
		fail(c, http.StatusForbidden, "the Host must be an address or localhost, so that no web page can reach this API through a browser")
	}
}

func limitBody(c *gin.Context) {
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxBodyBytes)
}

func services(s *mesh.Snapshot) []Service {
	all := make([]Service, 0, len(s.Services))
	for _, svc := range sorted(s) {
		out := Service{ServiceName: svc.Name, Declared: svc.Declared, Ports: []Port{}}
		for _, p := range svc.Ports {
			up := 0
			for _, i := range p.Instances {
				if i.Status == registry.StatusUp {
					up++
				}
			}
			out.Ports = append(out.Ports, Port{
				Port: p.Port, XDS: svc.Name.PortName(p.Number), Endpoints: len(p.Instances), Up: up,
			})
		}
		all = append(all, out)
	}
	return all
}

// endpoints are those of the services that match; an empty namespace or
// service matches all.
func endpoints(s *mesh.Snapshot, namespace, service string) []Endpoint {
	all := []Endpoint{}
	for _, svc := range sorted(s) {
		if namespace != "" && namespace != svc.Name.Namespace || service != "" && service != svc.Name.Name {
			continue
		}
		for _, p := range svc.Ports {
			for _, i := range p.Instances {
				all = append(all, Endpoint{XDS: svc.Name.PortName(p.Number), Instance: i})
			}
		}
	}
	return all
}

func sorted(s *mesh.Snapshot) []*mesh.Service {
	all := make([]*mesh.Service, 0, len(s.Services))
	for _, svc := range s.Services {
		all = append(all, svc)
	}
	slices.SortFunc(all, func(a, b *mesh.Service) int {
		return cmp.Or(strings.Compare(a.Name.Namespace, b.Name.Namespace), strings.Compare(a.Name.Name, b.Name.Name))
	})
	return all
}

// Serve serves h on l until ctx ends, then lets requests finish for a moment.
func Serve(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readTimeout,
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
