// Package users is the Go twin of the quickstart's Python service, for
// machines without Python: the same paths, the same answers.
package users

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
)

// Config is where the service listens.
type Config struct {
	Listen   string // host:port
	Instance string // its own name, in its answers
}

// New makes the service's handler.
func New(cfg Config) http.Handler {
	var requests atomic.Int64 // served, health checks and statistics not counted
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"status": "ok"})
	})
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"instance": cfg.Instance, "requests": requests.Load()})
	})
	mux.HandleFunc("GET /users/{id}", func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		id := r.PathValue("id")
		answer(w, http.StatusOK, map[string]any{
			"id": id, "name": "user " + id, "instance": cfg.Instance, "request_id": r.Header.Get("X-Request-Id"),
		})
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusNotFound, map[string]any{"error": "there is GET /users/<id>", "reason": "not_found"})
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
		return fmt.Errorf("users: %w", err)
	}
	<-stopped
	return nil
}
