// Package orders is the quickstart's Go service: a plain gin program that
// knows nothing of the mesh. It reaches users, catalog and promo by asking the
// sidecar's outbound port for the hosts of those names.
package orders

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
)

// Config is where the service listens and whom it calls.
type Config struct {
	Listen   string // host:port
	Instance string // its own name, in its answers
	Outbound string // base URL of the sidecar's outbound port
}

// passedOn are the fields that a service copies from the request it serves to
// those it makes on its behalf: the trace goes on, the deadline shrinks, and
// all logs show one id.
var passedOn = []string{"Traceparent", "Tracestate", "X-Request-Deadline", "X-Request-Id"}

type service struct {
	cfg      Config
	client   *http.Client
	requests atomic.Int64 // served, health checks and statistics not counted
}

// New makes the service's handler.
func New(cfg Config) http.Handler {
	s := &service{cfg: cfg, client: &http.Client{
		Timeout:   10 * time.Second, // a lost answer is an error, not a request that hangs for ever
		Transport: &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second},
	}}
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.Use(gin.Recovery())
	r.GET("/healthz", func(c *gin.Context) { c.JSON(http.StatusOK, gin.H{"status": "ok"}) })
	r.GET("/stats", func(c *gin.Context) {
		c.JSON(http.StatusOK, gin.H{"instance": cfg.Instance, "requests": s.requests.Load()})
	})
	r.GET("/orders/:id", s.order)
	return r
}

// order asks users, catalog and promo at once.
func (s *service) order(c *gin.Context) {
	s.requests.Add(1)
	id := c.Param("id")
	order := Order{ID: id, Instance: s.cfg.Instance, RequestID: c.GetHeader("X-Request-Id")}
	var promo Part
	var wg sync.WaitGroup
	var userErr, itemErr, promoErr error
	wg.Go(func() { userErr = s.ask(c.Request, "users", "/users/"+id, &order.User) })
	wg.Go(func() { itemErr = s.ask(c.Request, "catalog", "/items/"+id, &order.Item) })
	wg.Go(func() { promoErr = s.ask(c.Request, "promo", "/promos/"+id, &promo) })
	wg.Wait()
	if err := errors.Join(userErr, itemErr); err != nil {
		c.JSON(http.StatusBadGateway, gin.H{"error": err.Error(), "reason": "upstream_failed"})
		return
	}
	if promoErr != nil {
		order.PromoError = promoErr.Error()
	} else {
		order.Promo = &promo
	}
	c.JSON(http.StatusOK, order)
}

// ask gets a JSON answer from a service of the mesh, on behalf of the request
// in.
func (s *service) ask(in *http.Request, service, path string, answer any) error {
	req, err := http.NewRequestWithContext(in.Context(), http.MethodGet, s.cfg.Outbound+path, http.NoBody)
	if err != nil {
		return fmt.Errorf("request to %s: %w", service, err)
	}
	req.Host = service // this is all that it takes to call a service of the mesh
	for _, name := range passedOn {
		if v := in.Header.Values(name); len(v) > 0 {
			req.Header[name] = v
		}
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return fmt.Errorf("call %s: %w", service, err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", service, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %d: %.200s", service, resp.StatusCode, body)
	}
	if err := json.Unmarshal(body, answer); err != nil {
		return fmt.Errorf("decode the answer of %s: %w", service, err)
	}
	return nil
}
