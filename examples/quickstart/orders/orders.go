// Package orders is the quickstart's Go service: a plain gin program that
// knows nothing of the mesh. It reaches users by asking the sidecar's outbound
// port for the host "users".
package orders

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
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

// callTimeout bounds a call to users, so that a lost answer is an error here
// and not a request that hangs for ever.
const callTimeout = 10 * time.Second

// passedOn are the fields that a service copies from the request it serves to
// those it makes on its behalf: the trace goes on, the deadline shrinks, and
// all logs show one id.
var passedOn = []string{"Traceparent", "Tracestate", "X-Request-Deadline", "X-Request-Id"}

// Order is the answer to GET /orders/:id.
type Order struct {
	ID        string `json:"id"`
	Instance  string `json:"instance"`
	RequestID string `json:"request_id"`
	User      User   `json:"user"`
}

// User is what the users service answers.
type User struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Instance  string `json:"instance"`
	RequestID string `json:"request_id"`
}

type service struct {
	cfg      Config
	client   *http.Client
	requests atomic.Int64 // served, health checks and statistics not counted
}

// New makes the service's handler.
func New(cfg Config) http.Handler {
	s := &service{cfg: cfg, client: &http.Client{
		Timeout:   callTimeout,
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

func (s *service) order(c *gin.Context) {
	s.requests.Add(1)
	user, err := s.user(c.Request, c.Param("id"))
	if err != nil {
		c.JSON(http.StatusBadGateway, gin.H{"error": err.Error(), "reason": "users_failed"})
		return
	}
	c.JSON(http.StatusOK, Order{
		ID:        c.Param("id"),
		Instance:  s.cfg.Instance,
		RequestID: c.GetHeader("X-Request-Id"),
		User:      user,
	})
}

// user asks users for one user, on behalf of the request in.
func (s *service) user(in *http.Request, id string) (User, error) {
	req, err := http.NewRequestWithContext(in.Context(), http.MethodGet, s.cfg.Outbound+"/users/"+id, http.NoBody)
	if err != nil {
		return User{}, fmt.Errorf("request to users: %w", err)
	}
	req.Host = "users" // this is all that it takes to call a service of the mesh
	for _, name := range passedOn {
		if v := in.Header.Values(name); len(v) > 0 {
			req.Header[name] = v
		}
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return User{}, fmt.Errorf("call users: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return User{}, fmt.Errorf("read the answer of users: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return User{}, fmt.Errorf("users answered %d: %.200s", resp.StatusCode, body)
	}
	var user User
	if err := json.Unmarshal(body, &user); err != nil {
		return User{}, fmt.Errorf("decode the answer of users: %w", err)
	}
	return user, nil
}

// Run serves until ctx ends.
func Run(ctx context.Context, cfg Config) error {
	srv := &http.Server{Addr: cfg.Listen, Handler: New(cfg), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = srv.Shutdown(grace)
	}()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("orders: %w", err)
	}
	<-stopped
	return nil
}
