package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	microregistry "go-micro.dev/v4/registry"

	"github.com/outrigger-mesh/outrigger/middleware/builtin"
	"github.com/outrigger-mesh/outrigger/sidecar/internal/config"
)

// running is a sidecar that reads its file again.
type running struct {
	*Node
	t      *testing.T
	file   string
	log    *log
	level  *slog.LevelVar
	hangup chan os.Signal
	at     map[string]string
	stop   func() error
}

func startFile(t *testing.T, yaml string, change func(*Options)) *running {
	t.Helper()
	r := &running{
		t: t, file: filepath.Join(t.TempDir(), "sidecar.yaml"), log: &log{}, level: new(slog.LevelVar), hangup: make(chan os.Signal, 1),
	}
	write(t, r.file, yaml)
	c, err := config.Load(r.file)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{
		Kinds: builtin.Kinds(), Logger: slog.New(slog.NewJSONHandler(r.log, nil)), Level: r.level, Version: "test",
		Load: func() (*config.Config, error) { return config.Load(r.file) }, Reload: r.hangup,
	}
	if change != nil {
		change(&o)
	}
	if r.Node, err = New(c, o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	r.at = r.log.serving(t)
	return r
}

// save writes the file and waits until it is in force.
func (r *running) save(yaml string) {
	r.t.Helper()
	before := r.reload.state().(ReloadStatus)
	write(r.t, r.file, yaml)
	eventually(r.t, "the file is in force", func() bool {
		now := r.reload.state().(ReloadStatus)
		if len(now.Errors) > 0 && !slices.Equal(now.Errors, before.Errors) {
			r.t.Fatalf("it is refused: %q", now.Errors)
		}
		return now.Loaded.After(before.Loaded)
	})
}

// refused writes the file and waits for what is said of it.
func (r *running) refused(yaml, want string) {
	r.t.Helper()
	write(r.t, r.file, yaml)
	eventually(r.t, "the file is refused with "+want, func() bool {
		return strings.Contains(strings.Join(r.reload.state().(ReloadStatus).Errors, "\n"), want)
	})
}

// address is where the listener of a name is.
func (r *running) address(name string) string {
	r.t.Helper()
	d := r.doors.find(name)
	if d == nil {
		r.t.Fatalf("there is no listener %s", name)
	}
	return d.ln.Addr().String()
}

func named(t *testing.T, name string) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, name) }))
	t.Cleanup(s.Close)
	return s
}

// free is an address that nobody listens on for the moment.
func free(t *testing.T) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// webSocket opens an upgraded connection through the outbound listener to an
// app that echoes; ask sends a word over it and gets it back.
func webSocket(t *testing.T, outbound, host string) (ask func() error) {
	t.Helper()
	nc, err := new(net.Dialer).DialContext(t.Context(), "tcp", outbound)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(30 * time.Second))
	fmt.Fprintf(nc, "GET /chat HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", host)
	in := bufio.NewReader(nc)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close() // a response of 101 has none
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("no upgrade: %s", resp.Status)
	}
	return func() error {
		if _, err := nc.Write([]byte("word")); err != nil {
			return err
		}
		got := make([]byte, 4)
		_, err := io.ReadFull(in, got)
		return err
	}
}

func chatApp(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		nc, in, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer nc.Close()
		_, _ = nc.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"))
		_, _ = io.Copy(nc, in)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestASavedConfigurationIsInForceAndWhatDidNotChangeIsUntouched(t *testing.T) {
	one, two, chat := named(t, "one"), named(t, "two"), chatApp(t)
	const head = "listen: {outbound: \"127.0.0.1:0\", admin: \"127.0.0.1:0\"}\ndrain: {delay: 1ms}\nmiddleware: {outbound: [requestid]}\n"
	const upstreams = "upstreams:\n  chat: {endpoints: [\"%s\"]}\n  a: {endpoints: [\"%s\"]}\n"
	at := func(s *httptest.Server) string { return s.Listener.Addr().String() }
	r := startFile(t, head+fmt.Sprintf(upstreams, chat, at(one)), nil)
	out := r.at["listen.outbound"]
	ask := webSocket(t, out, "chat")
	check := func(what string) {
		t.Helper()
		if err := ask(); err != nil {
			t.Fatalf("the open WebSocket did not survive: %s: %v", what, err)
		}
	}
	expect := func(host string, status int, body string) {
		t.Helper()
		if got, text := get(t, out, host, "/"); got != status || !strings.Contains(text, body) {
			t.Errorf("%s: %d %s, want %d %s", host, got, text, status, body)
		}
	}
	expect("a", 200, "one")

	r.save(head + fmt.Sprintf(upstreams, chat, at(two)) + "  b: {endpoints: [\"" + at(one) + "\"]}\nlog: {level: debug}\n")
	expect("a", 200, "two")
	expect("b", 200, "one")
	if r.level.Level() != slog.LevelDebug {
		t.Errorf("the log level is %v", r.level.Level())
	}
	check("upstreams changed")

	r.save(head + fmt.Sprintf(upstreams, chat, at(two)) + "outbound: {unknown: passthrough}\n")
	expect(at(one), 200, "one")
	expect("b", 503, "") // a host of no service now, and of nobody else
	check("passthrough was switched on")

	r.save(head + fmt.Sprintf(upstreams, chat, at(two)))
	expect(at(one), 404, "")
	check("passthrough was switched off")

	r.save(strings.Replace(head, "[requestid]", "[requestid, metrics]", 1) + fmt.Sprintf(upstreams, chat, at(two)))
	check("the middleware changed")
	if r.address("outbound") != out {
		t.Error("the listener moved")
	}
}

func TestAMovedListenerServesBeforeTheOldOneGoes(t *testing.T) {
	one := named(t, "one")
	const text = "listen: {outbound: \"%s\", admin: \"127.0.0.1:0\"%s}\ndrain: {delay: %s}\nupstreams: {a: {endpoints: [\"%s\"]}}\n"
	file := func(outbound, more, delay string) string {
		return fmt.Sprintf(text, outbound, more, delay, one.Listener.Addr())
	}
	first, second := free(t), free(t)
	r := startFile(t, file(first, "", "300ms"), nil)
	r.save(file(second, ", metrics: \"127.0.0.1:0\"", "300ms"))
	for _, address := range []string{second, first} { // both, for the drain's delay
		if status, body := get(t, address, "a", "/"); status != 200 || body != "one" {
			t.Errorf("%s: %d %s", address, status, body)
		}
	}
	if status, body := get(t, r.address("metrics"), "", "/metrics"); status != 200 || !strings.Contains(body, "outrigger_config_reloads_total") {
		t.Errorf("the metrics listener: %d %s", status, body)
	}
	eventually(t, "the old listener is closed", func() bool {
		nc, err := new(net.Dialer).DialContext(t.Context(), "tcp", first)
		if err != nil {
			return errors.Is(err, syscall.ECONNREFUSED)
		}
		nc.Close()
		return false
	})
	if status, _ := get(t, second, "a", "/"); status != 200 {
		t.Error("the new listener went with the old one")
	}
	r.save(file(second, "", "1ms"))
	if r.doors.find("metrics") != nil {
		t.Error("the metrics listener is still there")
	}
}

func TestWhatCannotBePutInForceChangesNothing(t *testing.T) {
	one, used := named(t, "one"), named(t, "used")
	const head = "node: {id: n1}\nlisten: {outbound: \"127.0.0.1:0\", admin: \"127.0.0.1:0\"%s}\ndrain: {delay: 1ms}\n"
	upstreams := "upstreams: {a: {endpoints: [\"" + one.Listener.Addr().String() + "\"]}}\n"
	r := startFile(t, fmt.Sprintf(head, "")+upstreams, nil)
	same := func() {
		t.Helper()
		if status, body := get(t, r.at["listen.outbound"], "a", "/"); status != 200 || body != "one" {
			t.Errorf("%d %s", status, body)
		}
		if status, _ := get(t, r.at["listen.outbound"], "b", "/"); status != 404 {
			t.Error("a part of the refused file is in force")
		}
	}
	more := "upstreams: {b: {endpoints: [\"127.0.0.1:1\"]}}\n"
	r.refused(fmt.Sprintf(head, ", metrics: \""+used.Listener.Addr().String()+"\"")+more, "listen.metrics: "+used.Listener.Addr().String()+" is in use by another program")
	same()
	r.refused(fmt.Sprintf(head, "")+"listn: {}\n"+more, "sidecar.yaml:4:1: unknown key \"listn\"")
	same()
	r.refused(strings.Replace(fmt.Sprintf(head, ""), "n1", "n2", 1)+more+"discovery: {xds: {}}\n", "sidecar.yaml:1:12: node.id: cannot change while the sidecar runs: that needs a restart")
	r.refused(fmt.Sprintf(head, "")+more+"discovery: {xds: {}}\nlimits: {connections: 3}\n",
		"sidecar.yaml:5:18: discovery.xds: cannot change while the sidecar runs: that needs a restart, or sidecar upgrade")
	same()
	r.refused(fmt.Sprintf(head, "")+more+"middleware: {outbound: [nothing]}\n", "nothing")
	same()
	if _, metrics := get(t, r.at["listen.admin"], "", "/metrics"); !strings.Contains(metrics, "\noutrigger_config_file_bad 1\n") {
		t.Error("the metrics do not say that the file is wrong")
	}
	if _, dump := get(t, r.at["listen.admin"], "", "/config/reload"); !strings.Contains(dump, "sidecar.yaml") {
		t.Errorf("the dump: %s", dump)
	}
	r.save(fmt.Sprintf(head, "") + upstreams + "log: {level: warn}\n")
	same()
}

func TestAPortThatBecomesFreeIsTakenWithoutAnotherSave(t *testing.T) {
	used := named(t, "used")
	address := used.Listener.Addr().String()
	const head = "listen: {outbound: off, admin: \"127.0.0.1:0\"%s}\ndrain: {delay: 1ms}\n"
	r := startFile(t, fmt.Sprintf(head, ""), nil)
	r.refused(fmt.Sprintf(head, ", metrics: \""+address+"\""), "in use")
	used.Close()
	eventually(t, "the listener is there", func() bool { return r.doors.find("metrics") != nil })
}

func TestASignalReadsTheFileThatLooksUnchanged(t *testing.T) {
	r := startFile(t, "listen: {outbound: off, admin: \"127.0.0.1:0\"}\n", nil)
	before := r.reload.state().(ReloadStatus).Loaded
	r.hangup <- syscall.SIGHUP
	eventually(t, "it is read", func() bool { return r.reload.state().(ReloadStatus).Loaded.After(before) })
}

// recorded is a registry that says what it was asked, in order.
type recorded struct {
	microregistry.Registry
	mu     sync.Mutex
	events []string
	before func(event string)
}

func (r *recorded) note(event string, s *microregistry.Service) {
	for _, n := range s.Nodes {
		event += " " + n.Id[strings.LastIndex(n.Id, "/")+1:] + "=" + n.Address
	}
	if r.before != nil {
		r.before(event)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.events) == 0 || r.events[len(r.events)-1] != event { // it is renewed again and again
		r.events = append(r.events, event)
	}
}

func (r *recorded) Register(s *microregistry.Service, _ ...microregistry.RegisterOption) error {
	r.note("register", s)
	return nil
}

func (r *recorded) Deregister(s *microregistry.Service, _ ...microregistry.DeregisterOption) error {
	r.note("deregister", s)
	return nil
}

func (r *recorded) list() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.events...)
}

func TestTheAppsPortsMoveWithoutAMomentUnregistered(t *testing.T) {
	one, two := named(t, "one"), named(t, "two")
	first, second := free(t), free(t)
	const text = `
app: {name: orders, health: {interval: 5ms, healthyAfter: %d}, ports: [{name: http, address: "%s", listen: "%s"}%s]}
listen: {outbound: off, admin: "127.0.0.1:0"}
drain: {delay: 50ms}
`
	known := &recorded{}
	r := startFile(t, fmt.Sprintf(text, 1, one.Listener.Addr(), first, `, {name: raw, protocol: tcp, address: "`+one.Listener.Addr().String()+`", listen: "127.0.0.1:0"}`),
		func(o *Options) { o.Registry = known })
	raw := r.address("inbound/raw")
	eventually(t, "it is registered", func() bool { return len(known.list()) == 1 })
	if status, body := get(t, raw, "", "/"); status != 200 || body != "one" {
		t.Errorf("through the tcp port: %d %s", status, body)
	}
	// Another address of the app, another listener, another health check, and a port less.
	r.save(fmt.Sprintf(text, 2, two.Listener.Addr(), second, ""))
	if status, body := get(t, second, "", "/"); status != 200 || body != "two" {
		t.Errorf("%d %s", status, body)
	}
	want := []string{
		"register http=" + first + " raw=" + raw,
		"register http=" + second,
		"deregister raw=" + raw,
		"register http=" + second, // by the new health check
	}
	eventually(t, "all was said", func() bool { return len(known.list()) >= len(want) })
	if got := known.list(); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the registry was told\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if _, dump := get(t, r.at["listen.admin"], "", "/config/registration"); !strings.Contains(dump, second) {
		t.Errorf("the dump does not say what is registered: %s", dump)
	}
}

func TestANewHealthCheckThatFailsTakesTheRegistrationBack(t *testing.T) {
	one := named(t, "one")
	const text = `
app: {name: orders, address: "%s", health: {%s, interval: 5ms, timeout: 50ms, healthyAfter: 1, unhealthyAfter: 2}}
listen: {inbound: "127.0.0.1:0", outbound: off, admin: off}
drain: {delay: 1ms}
`
	known := &recorded{}
	r := startFile(t, fmt.Sprintf(text, one.Listener.Addr(), "http: /"), func(o *Options) { o.Registry = known })
	eventually(t, "it is registered", func() bool { return len(known.list()) == 1 })
	r.save(fmt.Sprintf(text, one.Listener.Addr(), `tcp: "127.0.0.1:1"`))
	eventually(t, "it is deregistered", func() bool {
		events := known.list()
		return strings.HasPrefix(events[len(events)-1], "deregister http=")
	})
}

func TestTheSidecarEndsInOrder(t *testing.T) {
	one := named(t, "one")
	appDown := make(chan struct{})
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "app") }))
	closeApp := sync.OnceFunc(func() { app.Close(); close(appDown) })
	defer closeApp()
	var r *running
	var late atomic.Bool
	known := &recorded{}
	known.before = func(event string) {
		if !strings.HasPrefix(event, "deregister") || late.Swap(true) {
			return
		}
		// It is deregistered while it still serves, and says that it drains.
		if _, body := get(t, r.at["listen.admin"], "", "/readyz"); !strings.Contains(body, "draining") {
			t.Errorf("deregistered before the mark: %s", body)
		}
		if status, _ := get(t, r.at["listen.inbound"], "", "/"); status != 200 {
			t.Errorf("inbound: %d while it is deregistered", status)
		}
	}
	r = startFile(t, `
app: {name: orders, address: "`+app.Listener.Addr().String()+`", health: {interval: 5ms, healthyAfter: 1}}
listen: {inbound: "127.0.0.1:0", outbound: "127.0.0.1:0", admin: "127.0.0.1:0"}
upstreams: {a: {endpoints: ["`+one.Listener.Addr().String()+`"]}}
drain: {delay: 50ms, app: 1m}
`, func(o *Options) { o.Registry = known })
	eventually(t, "it is registered", func() bool { return len(known.list()) == 1 })
	ended := make(chan error, 1)
	go func() { ended <- r.stop() }()
	eventually(t, "nothing comes in any more", func() bool {
		nc, err := new(net.Dialer).DialContext(t.Context(), "tcp", r.at["listen.inbound"])
		if err == nil {
			nc.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	if !late.Load() {
		t.Error("inbound was closed before the app was deregistered")
	}
	if status, _ := get(t, r.at["listen.outbound"], "a", "/"); status != 200 {
		t.Errorf("outbound: %d while the app is still there", status)
	}
	select {
	case err := <-ended:
		t.Fatalf("it ended before its app: %v", err)
	default:
	}
	closeApp()
	<-appDown
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
	text := r.log.text()
	at := -1
	for _, step := range []string{`"draining"`, `"deregistered"`, `"nothing comes in any more"`, `"the app is gone"`, `"nothing goes out any more"`} {
		i := strings.Index(text, `"msg":`+step)
		if i <= at {
			t.Errorf("%s is not said in its turn:\n%s", step, text)
		}
		at = i
	}
}

func TestAnAppThatStaysIsNotWaitedForLong(t *testing.T) {
	app := named(t, "app")
	r := startFile(t, `
app: {name: orders, address: "`+app.Listener.Addr().String()+`"}
listen: {inbound: "127.0.0.1:0", outbound: "127.0.0.1:0", admin: off}
drain: {delay: 1ms, app: 20ms}
`, nil)
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if text := r.log.text(); !strings.Contains(text, "the app is still there") {
		t.Errorf("it does not say what it waited for:\n%s", text)
	}
}

func TestLimitsAreThoseOfTheConfiguration(t *testing.T) {
	one := named(t, "one")
	r := startFile(t, `
listen: {outbound: "127.0.0.1:0", admin: off}
upstreams: {a: {endpoints: ["`+one.Listener.Addr().String()+`"]}}
limits: {connections: 1, headTimeout: 30ms}
drain: {delay: 1ms}
`, nil)
	nc, err := new(net.Dialer).DialContext(t.Context(), "tcp", r.at["listen.outbound"])
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if _, err := nc.Write([]byte("GET / HTT")); err != nil {
		t.Fatal(err)
	}
	_ = nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	resp, err := http.ReadResponse(bufio.NewReader(nc), nil)
	if err != nil || resp.StatusCode != http.StatusRequestTimeout {
		t.Fatalf("a slow head: %v, %v; want 408", resp, err)
	}
	resp.Body.Close()
	nc.Close()
	// The one place is free again at some time; then it is held, and the next is refused.
	var hold net.Conn
	eventually(t, "a connection too many is refused", func() bool {
		if hold != nil {
			hold.Close()
		}
		if hold, err = new(net.Dialer).DialContext(t.Context(), "tcp", r.at["listen.outbound"]); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it is counted", func() bool { return r.connections() == 1 })
		second, err := new(net.Dialer).DialContext(t.Context(), "tcp", r.at["listen.outbound"])
		if err != nil {
			t.Fatal(err)
		}
		defer second.Close()
		_ = second.SetReadDeadline(time.Now().Add(10 * time.Second))
		resp, err := http.ReadResponse(bufio.NewReader(second), nil)
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusServiceUnavailable
	})
	hold.Close()
}

// find is the door with the name of a wish, if one is in force.
func (d *doors) find(name string) *door {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, x := range d.all {
		if x.name() == name {
			return x
		}
	}
	return nil
}
