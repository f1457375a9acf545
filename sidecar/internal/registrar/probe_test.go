package registrar

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

func TestHTTPProbeJudgesByStatus(t *testing.T) {
	tests := []struct {
		name    string
		status  int
		healthy bool
	}{
		{"ok", http.StatusOK, true},
		{"no content", http.StatusNoContent, true},
		{"a redirect counts and is not followed", http.StatusFound, true},
		{"not found", http.StatusNotFound, false},
		{"unavailable", http.StatusServiceUnavailable, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var paths []string
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				paths = append(paths, r.URL.String())
				w.Header().Set("Location", "/elsewhere")
				w.WriteHeader(tt.status)
			}))
			defer srv.Close()
			err := HTTP(srv.URL + "/healthz?deep=1")(t.Context())
			if (err == nil) != tt.healthy {
				t.Errorf("status %d: error = %v", tt.status, err)
			}
			if len(paths) != 1 || paths[0] != "/healthz?deep=1" {
				t.Errorf("requests = %v, want one of /healthz?deep=1", paths)
			}
		})
	}
}

func TestHTTPProbeEndsWithItsContext(t *testing.T) {
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer srv.Close()
	defer close(release)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := HTTP(srv.URL)(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v, want deadline exceeded", err)
	}
}

func TestTCPProbeConnects(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	probe := TCP(ln.Addr().String())
	if err := probe(t.Context()); err != nil {
		t.Errorf("with a listener: %v", err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if err := probe(t.Context()); err == nil {
		t.Error("without a listener: no error")
	}
}

func TestGRPCProbeAsksForTheService(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h := health.NewServer()
	h.SetServingStatus("orders", healthpb.HealthCheckResponse_SERVING)
	s := grpc.NewServer()
	healthpb.RegisterHealthServer(s, h)
	ended := make(chan error)
	go func() { ended <- s.Serve(ln) }()
	defer func() {
		s.Stop()
		<-ended
	}()
	probe := GRPC(ln.Addr().String(), "orders", nil)
	if err := probe(t.Context()); err != nil {
		t.Errorf("serving: %v", err)
	}
	h.SetServingStatus("orders", healthpb.HealthCheckResponse_NOT_SERVING)
	if err := probe(t.Context()); err == nil {
		t.Error("not serving: no error")
	}
	if err := GRPC(ln.Addr().String(), "", nil)(t.Context()); err != nil {
		t.Errorf("the server as a whole: %v", err)
	}
	refused := errors.New("certificate is not trusted")
	asked := ""
	probe = GRPC(ln.Addr().String(), "", func(_ context.Context, _, address string) (net.Conn, error) {
		asked = address
		return nil, refused
	})
	if err := probe(t.Context()); err == nil || !strings.Contains(err.Error(), refused.Error()) || asked != ln.Addr().String() {
		t.Errorf("a handshake with %s that fails: %v", asked, err)
	}
}

func TestHTTP2ProbeSpeaksNothingElse(t *testing.T) {
	status := http.StatusOK
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 || r.URL.Path != "/healthz" {
			t.Errorf("%s %s", r.Proto, r.URL)
		}
		w.WriteHeader(status)
	}))
	srv.Config.Protocols = &http.Protocols{}
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	defer srv.Close()
	probe := HTTP2(srv.URL + "/healthz")
	if err := probe(t.Context()); err != nil {
		t.Error(err)
	}
	status = http.StatusServiceUnavailable
	if err := probe(t.Context()); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("%v", err)
	}
	srv.Close()
	if probe(t.Context()) == nil {
		t.Error("an app that is gone is healthy")
	}
}
