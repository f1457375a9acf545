package command_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/outrigger-mesh/outrigger/controlplane/command"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// logLines is a log that says when the control plane serves.
type logLines struct {
	mu      sync.Mutex
	text    bytes.Buffer
	serving chan map[string]any
}

// Write implements io.Writer; slog writes a record at a time.
func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var line map[string]any
	if json.Unmarshal(p, &line) == nil && line["msg"] == "serving" {
		l.serving <- line
	}
	return l.text.Write(p)
}

func TestRunServesUntilItIsToldToStopAndLeavesNothingRunning(t *testing.T) {
	write(t, map[string]string{
		"controlplane.yaml":   "listen: {xds: 127.0.0.1:0, api: 127.0.0.1:0}\n",
		"objects/orders.yaml": orders,
	})
	log := &logLines{serving: make(chan map[string]any, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- command.Execute(ctx, []string{"run"}, io.Discard, log) }()
	var line map[string]any
	select {
	case line = <-log.serving:
	case err := <-done:
		t.Fatalf("it ended: %v", err)
	case <-time.After(patience):
		t.Fatal("it does not serve")
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	for path, want := range map[string]string{
		"/readyz":      `{"status":"ready"}`,
		"/v1/services": `{"services":[{"namespace":"default","name":"orders","declared":true,"ports":[{"name":"http","number":80,"xds":"orders.default:80","endpoints":0,"up":0}]}]}`,
		"/v1/proxies":  `{"proxies":[]}`,
	} {
		resp, err := client.Get("http://" + line["api"].(string) + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(body) != want {
			t.Errorf("%s says %s (%v), want %s", path, body, err, want)
		}
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("it does not stop")
	}
}
