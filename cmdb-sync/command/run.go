package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/outrigger-mesh/outrigger/cmdb-sync/internal/job"
	"github.com/outrigger-mesh/outrigger/internal/run"
)

func (o *options) run() *cobra.Command {
	c := o.withApprove(o.withOutput(o.withAllowEmpty(o.withConfig(&cobra.Command{
		Use: "run", Short: "Plan and apply each interval, and when the source changes, until SIGTERM or SIGINT", Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.checkOutput(); err != nil {
				return err
			}
			if o.once {
				return o.runOnce(c.Context())
			}
			if o.job.Approve != "" {
				return run.Usage(errors.New("--approve is for one plan: use it with run --once or apply"))
			}
			return o.loop(c.Context())
		},
	}))))
	c.Flags().BoolVar(&o.once, "once", false, "do one run and end; its exit code says how it went")
	return c
}

func (o *options) runOnce(ctx context.Context) error {
	_, j, err := o.load()
	if err != nil {
		return err
	}
	defer j.Close()
	p, err := j.Once(ctx)
	if p != nil {
		if err := o.print(p); err != nil {
			return err
		}
	}
	return err
}

func (o *options) loop(ctx context.Context) error {
	c, j, err := o.load()
	if err != nil {
		return err
	}
	defer j.Close()
	var g run.Group
	if c.Listen.Metrics != "" {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Listen.Metrics)
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("listen.metrics: %s is in use", c.Listen.Metrics)
		}
		if err != nil {
			return fmt.Errorf("listen.metrics: %w", err)
		}
		if _, err := fmt.Fprintf(o.stderr, "metrics: http://%s/metrics\n", l.Addr()); err != nil {
			return errors.Join(err, l.Close())
		}
		g.Add("metrics", func(ctx context.Context) error { return serveMetrics(ctx, l, j) })
	}
	g.Add("job", j.Run)
	return g.Run(ctx)
}

// serveMetrics serves until ctx ends.
func serveMetrics(ctx context.Context, l net.Listener, j *job.Job) error {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", j.Metrics().Handler())
	s := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		stopped <- s.Shutdown(grace)
	})
	err := s.Serve(l)
	if stop() {
		return err // it was not told to stop
	}
	return <-stopped
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
