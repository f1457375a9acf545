package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// The limits of the admin port. A scrape of a large process fits well within
// writeTimeout; a client that reads or writes slower than that is cut off.
const (
	headTimeout  = 5 * time.Second
	readTimeout  = 10 * time.Second
	writeTimeout = 30 * time.Second
	idleTimeout  = time.Minute
	maxHead      = 16 << 10
	// grace is how long requests that are being answered may take after the end.
	grace = 2 * time.Second
)

// Server serves a handler on one listener.
type Server struct {
	ln  net.Listener
	srv *http.Server
}

// NewServer makes a server of handler on ln, which it owns from here on. Run
// makes it work.
func NewServer(ln net.Listener, handler http.Handler, log *slog.Logger) *Server {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Server{ln: ln, srv: &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHead,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
}

// Run serves until ctx ends, lets requests that are being answered finish for
// a moment, and returns nil. It returns early, with the error, when the
// listener fails. It may be called once.
func (s *Server) Run(ctx context.Context) error {
	stopped := make(chan struct{})
	served := make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-ctx.Done():
		case <-served:
		}
		shut, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		if s.srv.Shutdown(shut) != nil {
			_ = s.srv.Close() // the slow ones are cut off
		}
	}()
	err := s.srv.Serve(s.ln)
	close(served)
	<-stopped
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve the admin port: %w", err)
}
