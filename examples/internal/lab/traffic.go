package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Load is steady traffic to send.
type Load struct {
	URL    string                            // a number is appended to it, another for each request
	Same   bool                              // nothing is appended
	Host   string                            // the Host field
	Rate   int                               // requests a second
	Expect func(body []byte) (string, error) // judges an answer of status 200; the string says who gave it
}

// The bounds of Traffic.
const (
	maxInFlight   = 256              // more are not sent until some are answered
	requestLimit  = 15 * time.Second // of one request
	longestRun    = 2 * time.Minute  // traffic stops by itself
	maxFailures   = 5                // that are described; all are counted
	maxAnswerBody = 1 << 20
)

// Result is what came of some traffic.
type Result struct {
	Sent     int
	Answered int            // as expected
	Failed   int            // anything else
	By       map[string]int // Answered, by who gave it
	Statuses map[int]int    // answers of whatever kind, by status
	Failures []string       // the first few, described
	Slowest  time.Duration
}

// Add joins two results.
func (r Result) Add(o Result) Result {
	sum := Result{
		Sent: r.Sent + o.Sent, Answered: r.Answered + o.Answered, Failed: r.Failed + o.Failed,
		By: map[string]int{}, Statuses: map[int]int{}, Slowest: max(r.Slowest, o.Slowest),
	}
	for _, res := range []Result{r, o} {
		for who, n := range res.By {
			sum.By[who] += n
		}
		for status, n := range res.Statuses {
			sum.Statuses[status] += n
		}
	}
	sum.Failures = append(append(sum.Failures, r.Failures...), o.Failures...)
	return sum
}

// Traffic is requests being sent.
type Traffic struct {
	load   Load
	client *http.Client
	cancel context.CancelFunc
	done   chan struct{}

	mu  sync.Mutex
	res Result
}

// Send makes n requests one after the other.
func Send(ctx context.Context, load Load, n int) Result {
	t := newTraffic(load)
	defer t.client.CloseIdleConnections()
	for i := range n {
		if ctx.Err() != nil {
			break
		}
		t.request(ctx, i)
	}
	return t.Result()
}

// Burst makes n requests as fast as it can, some of them at a time.
func Burst(ctx context.Context, load Load, n, atOnce int) Result {
	t := newTraffic(load)
	defer t.client.CloseIdleConnections()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for i := int(next.Add(1)); i <= n && ctx.Err() == nil; i = int(next.Add(1)) {
				t.request(ctx, i)
			}
		})
	}
	wg.Wait()
	return t.Result()
}

// StartTraffic begins to send, until Stop, the end of ctx, or the longest time
// that traffic may run.
func StartTraffic(ctx context.Context, load Load) *Traffic {
	t := newTraffic(load)
	tick, cancel := context.WithTimeout(ctx, longestRun)
	t.cancel = cancel
	go t.run(ctx, tick)
	return t
}

func newTraffic(load Load) *Traffic {
	return &Traffic{
		load:   load,
		done:   make(chan struct{}),
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: maxInFlight}, Timeout: requestLimit},
		res:    Result{By: map[string]int{}, Statuses: map[int]int{}},
	}
}

// run sends at each tick until tick ends, then waits for the answers.
func (t *Traffic) run(ctx, tick context.Context) {
	defer close(t.done)
	defer t.client.CloseIdleConnections()
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, maxInFlight)
	ticker := time.NewTicker(time.Second / time.Duration(t.load.Rate))
	defer ticker.Stop()
	for i := 0; ; i++ {
		select {
		case <-tick.Done():
			return
		case <-ticker.C:
		}
		select {
		case <-tick.Done():
			return
		case slots <- struct{}{}:
		}
		wg.Go(func() {
			t.request(ctx, i)
			<-slots
		})
	}
}

// Stop ends the sending, waits for the answers still to come and returns the
// result of the whole.
func (t *Traffic) Stop() Result {
	t.cancel()
	<-t.done
	return t.Result()
}

// Result is what came of the traffic so far.
func (t *Traffic) Result() Result {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.res.Add(Result{})
}

// request makes the i-th request. One that the end of ctx cuts off was not
// sent at all, as far as the result knows.
func (t *Traffic) request(ctx context.Context, i int) {
	begin := time.Now()
	who, status, err := t.do(ctx, i)
	took := time.Since(begin)
	if ctx.Err() != nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.res.Sent++
	t.res.Slowest = max(t.res.Slowest, took)
	if status != 0 {
		t.res.Statuses[status]++
	}
	if err == nil {
		t.res.Answered++
		t.res.By[who]++
		return
	}
	t.res.Failed++
	if len(t.res.Failures) < maxFailures {
		t.res.Failures = append(t.res.Failures,
			fmt.Sprintf("%s after %s: %v", begin.Format("15:04:05.000"), took.Round(time.Millisecond), err))
	}
}

func (t *Traffic) do(ctx context.Context, i int) (who string, status int, err error) {
	url := t.load.URL
	if !t.load.Same {
		url += strconv.Itoa(i)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return "", 0, err
	}
	req.Host = t.load.Host
	// net/http tries a GET again by itself when a kept connection breaks, and
	// would hide just what is looked for here. It does not where there is a
	// body that cannot be had twice; this one is empty, and nothing of it is
	// seen on the wire.
	req.Body = io.NopCloser(strings.NewReader(""))
	resp, err := t.client.Do(req)
	if err != nil {
		return "", 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBody))
	if err != nil {
		return "", resp.StatusCode, fmt.Errorf("read the answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", resp.StatusCode, fmt.Errorf("status %d: %.300s", resp.StatusCode, body)
	}
	who, err = t.load.Expect(body)
	return who, resp.StatusCode, err
}

// Stats is what an app says of itself at GET /stats.
type Stats struct {
	Instance string `json:"instance"`
	Requests int    `json:"requests"`
}

// Requests is how many requests the app at addr has served.
func Requests(ctx context.Context, addr string) (int, error) {
	var s Stats
	if err := GetJSON(ctx, "http://"+addr+"/stats", &s); err != nil {
		return 0, err
	}
	return s.Requests, nil
}

// Field is an Expect function: the answer is JSON, and the text at path in it
// says who gave it.
func Field(path ...string) func([]byte) (string, error) {
	return func(body []byte) (string, error) {
		var v any
		if err := json.Unmarshal(body, &v); err != nil {
			return "", fmt.Errorf("the answer is not JSON: %w: %.300s", err, body)
		}
		for _, key := range path {
			m, _ := v.(map[string]any)
			v = m[key]
		}
		who, ok := v.(string)
		if !ok || who == "" {
			return "", fmt.Errorf("the answer does not say who gave it: %.300s", body)
		}
		return who, nil
	}
}
