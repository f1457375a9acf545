package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/gin-gonic/gin"
)

type handlers struct {
	opts Options
	log  *slog.Logger
}

// pages is the index, in the order of what one looks for.
var pages = [][2]string{
	{"GET /healthz", "200 while the process lives"},
	{"GET /readyz", "200 while it takes traffic, 503 with the reasons otherwise"},
	{"GET /metrics", "Prometheus metrics"},
	{"GET /config", "effective configuration, routes, clusters, endpoints, xDS and registration"},
	{"GET /log", "the log level"},
	{"PUT /log", `set it: {"level": "debug"} (debug, info, warn, error)`},
	{"POST /drain", "deregister and take nothing new"},
}

// index lists the pages as plain text.
func (h *handlers) index(c *gin.Context) {
	var b strings.Builder
	b.WriteString("outrigger sidecar\n\n")
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, p := range pages {
		_, _ = fmt.Fprintf(w, "%s\t%s\n", p[0], p[1])
	}
	for _, name := range slices.Sorted(maps.Keys(h.opts.Sources)) {
		_, _ = fmt.Fprintf(w, "GET /config/%s\t\n", name)
	}
	_ = w.Flush()
	c.String(http.StatusOK, "%s", b.String())
}

func (h *handlers) healthz(c *gin.Context) {
	c.JSON(http.StatusOK, gin.H{"status": "ok"})
}

// readyz is for load balancers and init systems: the status code is the answer.
func (h *handlers) readyz(c *gin.Context) {
	var reasons []string
	if h.opts.Ready != nil {
		reasons = h.opts.Ready()
	}
	if len(reasons) > 0 {
		c.JSON(http.StatusServiceUnavailable, gin.H{"ready": false, "reasons": reasons})
		return
	}
	c.JSON(http.StatusOK, gin.H{"ready": true})
}

// config dumps every source under its name.
func (h *handlers) config(c *gin.Context) {
	all := make(map[string]any, len(h.opts.Sources))
	for name, source := range h.opts.Sources {
		all[name] = source()
	}
	h.dump(c, all)
}

func (h *handlers) configPart(c *gin.Context) {
	source, ok := h.opts.Sources[c.Param("part")]
	if !ok {
		refuse(c, http.StatusNotFound, "not_found", fmt.Sprintf("there is no part %.64q; there are %s",
			c.Param("part"), strings.Join(slices.Sorted(maps.Keys(h.opts.Sources)), ", ")))
		return
	}
	h.dump(c, source())
}

// dump writes v as indented JSON, for people and jq alike. It is marshalled
// whole before the first byte is sent, so that an error can still be answered.
func (h *handlers) dump(c *gin.Context, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		h.log.Error("the dump cannot be printed", "path", c.Request.URL.Path, "reason", err.Error())
		refuse(c, http.StatusInternalServerError, "internal", "the dump cannot be printed: "+err.Error())
		return
	}
	c.Data(http.StatusOK, "application/json; charset=utf-8", append(body, '\n'))
}

// level is the body of /log in both directions.
type level struct {
	Level string `json:"level"`
}

func (h *handlers) readLevel(c *gin.Context) {
	if h.opts.Level == nil {
		refuse(c, http.StatusNotFound, "not_found", "the log level of this process is fixed")
		return
	}
	c.JSON(http.StatusOK, level{Level: strings.ToLower(h.opts.Level.Level().String())})
}

// setLevel changes the level for the life of the process.
func (h *handlers) setLevel(c *gin.Context) {
	if h.opts.Level == nil {
		refuse(c, http.StatusNotFound, "not_found", "the log level of this process is fixed")
		return
	}
	var body level
	dec := json.NewDecoder(c.Request.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&body); err != nil {
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			refuse(c, http.StatusRequestEntityTooLarge, "too_large", fmt.Sprintf("the body is larger than %d bytes", tooLarge.Limit))
			return
		}
		refuse(c, http.StatusBadRequest, "bad_request", `want {"level": "debug"}: `+err.Error())
		return
	}
	var to slog.Level
	if err := to.UnmarshalText([]byte(body.Level)); err != nil {
		refuse(c, http.StatusBadRequest, "bad_request",
			fmt.Sprintf("%.64q is not a log level: it is one of debug, info, warn and error", body.Level))
		return
	}
	from := h.opts.Level.Level()
	h.opts.Level.Set(to)
	h.log.Info("log level set", "from", from.String(), "to", to.String())
	h.readLevel(c)
}

// drain answers before the drain is through: 202, and /readyz tells the rest.
func (h *handlers) drain(c *gin.Context) {
	if h.opts.Drain == nil {
		refuse(c, http.StatusNotFound, "not_found", "this process cannot drain")
		return
	}
	h.log.Info("drain asked for", "peer", c.Request.RemoteAddr)
	h.opts.Drain()
	c.JSON(http.StatusAccepted, gin.H{"draining": true})
}
