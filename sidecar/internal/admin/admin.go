// Package admin is the sidecar's own HTTP port: liveness, readiness, metrics,
// a dump of the effective configuration and state, the log level and draining.
//
// It knows nothing of the rest of the sidecar: what it shows is handed to it
// as functions, called once per request and safe for concurrent use. What they
// return is printed as it is, so a source leaves secrets out.
//
// The port has no login: whoever reaches it may read everything and start a
// drain, so it belongs on loopback. A browser on the same machine reaches
// loopback too, on behalf of any web page; see guard.go for what is refused.
package admin

import (
	"log/slog"
	"net/http"
	"sync"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// maxBody bounds the body of a request, in bytes. The largest that makes sense
// is a log level.
const maxBody = 4 << 10

// Options is what the admin port shows and does. Every part may be left out.
type Options struct {
	// Ready returns why the sidecar should get no traffic; empty: it should.
	Ready func() []string
	// Gatherer is served at /metrics.
	Gatherer prometheus.Gatherer
	// Sources are the parts of /config by name: routes, clusters, xds, … Each
	// returns something that encoding/json can marshal.
	Sources map[string]func() any
	// Level is read and set at /log.
	Level *slog.LevelVar
	// Drain starts a drain and returns at once.
	Drain func()
	// Hosts are names, beside localhost and any IP address, under which the
	// port may be asked for, without a port.
	Hosts []string

	Logger *slog.Logger // nil: discarded
}

// failure is the body of every answer that is not a success, alike to that of
// the proxy's own replies.
type failure struct {
	Error  string `json:"error"`  // a sentence for people
	Reason string `json:"reason"` // a fixed word for programs
}

// quiet keeps gin from printing its routes. The mode is gin's global state.
var quiet = sync.OnceFunc(func() { gin.SetMode(gin.ReleaseMode) })

// New makes the handler of the admin port.
func New(o Options) http.Handler {
	quiet()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	h := &handlers{opts: o, log: o.Logger}

	r := gin.New()
	r.HandleMethodNotAllowed = true
	r.Use(h.recoverPanic, h.guard(o.Hosts), limitBody)
	r.NoRoute(func(c *gin.Context) {
		refuse(c, http.StatusNotFound, "not_found", "there is no such page here; GET / lists those that are")
	})
	r.NoMethod(func(c *gin.Context) {
		refuse(c, http.StatusMethodNotAllowed, "method_not_allowed",
			c.Request.Method+" is not for "+c.Request.URL.Path+"; the Allow header lists the methods that are")
	})

	read := func(path string, handler gin.HandlerFunc) {
		r.GET(path, handler)
		r.HEAD(path, handler)
	}
	read("/", h.index)
	read("/healthz", h.healthz)
	read("/readyz", h.readyz)
	read("/config", h.config)
	read("/config/:part", h.configPart)
	read("/log", h.readLevel)
	r.PUT("/log", h.setLevel)
	r.POST("/drain", h.drain)
	if o.Gatherer != nil {
		read("/metrics", gin.WrapH(promhttp.HandlerFor(o.Gatherer, promhttp.HandlerOpts{
			ErrorLog:            slog.NewLogLogger(h.log.Handler(), slog.LevelWarn),
			MaxRequestsInFlight: 4,
		})))
	}
	return r
}

func limitBody(c *gin.Context) {
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, maxBody)
}

func refuse(c *gin.Context, status int, reason, sentence string) {
	c.AbortWithStatusJSON(status, failure{Error: sentence, Reason: reason})
}
