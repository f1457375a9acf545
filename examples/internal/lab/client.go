package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// client is how the apps and admin ports are asked. It keeps no connections,
// for what it asks is killed and started again, and follows no proxy settings.
var client = &http.Client{
	Transport: &http.Transport{DisableKeepAlives: true},
	Timeout:   5 * time.Second,
}

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 16 << 20

// GetJSON decodes what url answers with status 200 into v.
func GetJSON(ctx context.Context, url string, v any) error {
	body, err := get(ctx, url)
	if err != nil {
		return err
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(body, v); err != nil {
		return fmt.Errorf("get %s: decode: %w", url, err)
	}
	return nil
}

// Healthy returns nil when url answers with status 200.
func Healthy(ctx context.Context, url string) error {
	_, err := get(ctx, url)
	return err
}

// Metric is the sum of the series of one name among the metrics that url
// answers: of those that have all of the labels, each given as name="value". It
// is an error if there is none.
func Metric(ctx context.Context, url, name string, labels ...string) (float64, error) {
	body, err := get(ctx, url)
	if err != nil {
		return 0, err
	}
	sum, found := 0.0, false
	for line := range strings.Lines(string(body)) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest[0] != ' ' && rest[0] != '{' {
			continue
		}
		if slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(rest, l) }) {
			continue
		}
		fields := strings.Fields(rest)
		v, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err != nil {
			return 0, fmt.Errorf("get %s: %s: %w", url, name, err)
		}
		sum, found = sum+v, true
	}
	if !found {
		return 0, fmt.Errorf("get %s: there is no metric %s", url, name)
	}
	return sum, nil
}

// Do makes a request without a body that is answered with status 200.
func Do(ctx context.Context, method, url string) error {
	_, err := do(ctx, method, url)
	return err
}

func get(ctx context.Context, url string) ([]byte, error) {
	return do(ctx, http.MethodGet, url)
}

func do(ctx context.Context, method, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", strings.ToLower(method), url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s %s: status %d: %.300s", strings.ToLower(method), url, resp.StatusCode, body)
	}
	return body, nil
}
