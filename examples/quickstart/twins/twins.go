// Package twins has the Go twins of the quickstart's services in Python,
// Node.js and PHP, for machines without those: the same paths, the same
// answers.
package twins

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
)

// Config is which service it is, and where it listens.
type Config struct {
	Service  string // users, catalog or promo
	Listen   string // host:port
	Instance string // its own name, in its answers
}

// things are what a service has: under which path, and what it says of one.
var things = map[string]struct {
	path     string
	describe func(id string, answer map[string]any)
}{
	"users":   {"/users/", func(id string, a map[string]any) { a["name"] = "user " + id }},
	"catalog": {"/items/", func(id string, a map[string]any) { a["title"] = "item " + id }},
	"promo":   {"/promos/", func(_ string, a map[string]any) { a["percent"] = 10 }},
}

// New makes a service's handler; nil for a service that has no twin.
func New(cfg Config) http.Handler {
	thing, ok := things[cfg.Service]
	if !ok {
		return nil
	}
	var requests atomic.Int64 // served, health checks and statistics not counted
	var broken atomic.Bool
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"status": "ok"})
	})
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"instance": cfg.Instance, "requests": requests.Load()})
	})
	mux.HandleFunc("GET "+thing.path+"{id}", func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if broken.Load() {
			answer(w, http.StatusInternalServerError, map[string]any{"error": cfg.Service + " plays broken", "reason": "broken"})
			return
		}
		a := map[string]any{"id": r.PathValue("id"), "instance": cfg.Instance, "request_id": r.Header.Get("X-Request-Id")}
		thing.describe(r.PathValue("id"), a)
		answer(w, http.StatusOK, a)
	})
	if cfg.Service == "promo" {
		play := func(w http.ResponseWriter, r *http.Request) {
			broken.Store(r.Method == http.MethodPut)
			answer(w, http.StatusOK, map[string]any{"broken": r.Method == http.MethodPut})
		}
		mux.HandleFunc("PUT /broken", play)
		mux.HandleFunc("DELETE /broken", play)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusNotFound, map[string]any{"error": "there is GET " + thing.path + "<id>", "reason": "not_found"})
	})
	return mux
}

func answer(w http.ResponseWriter, status int, v map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // an error here is a caller that has gone
}

// Run serves until ctx ends.
func Run(ctx context.Context, cfg Config) error {
	h := New(cfg)
	if h == nil {
		return fmt.Errorf("there is no service %q", cfg.Service)
	}
	srv := &http.Server{Addr: cfg.Listen, Handler: h, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = srv.Shutdown(grace)
	}()
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("%s: %w", cfg.Service, err)
	}
	<-stopped
	return nil
}
