package orders

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

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
