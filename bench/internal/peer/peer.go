// Package peer is the proxies that are compared, and the backend behind them:
// how each is configured, started as a process of its own, and stopped with
// everything that it has started.
//
// What a peer is lives in one small file a peer, its configuration in
// templates/, as its vendor recommends for what is measured here: two worker
// threads, keep-alive on both sides, no limit on how often a connection is used.
package peer

import (
	"context"
	"embed"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
)

//go:embed templates
var templates embed.FS

// Service is the Host of every request. The sidecar routes by it.
const Service = "echo"

// Peer is one proxy as it takes part.
type Peer struct {
	Name string // as in -only and in the tables
	What string // one line for people
	// setups are those that it takes part in; nil: HTTP1 alone.
	setups []Setup
	// configure writes the peer's files into the site's folder, and says which
	// program to run with which arguments.
	configure func(s Site) (program string, args []string, err error)
	// version asks the program, or the build, for its version.
	version func(ctx context.Context) (string, error)
}

// Version is what the peer's program says of itself.
func (p Peer) Version(ctx context.Context) (string, error) {
	v, err := p.version(ctx)
	if err != nil {
		return "", fmt.Errorf("%s: %w", p.Name, err)
	}
	return v, nil
}

// Site is where one peer runs.
type Site struct {
	Dir     string // its own, for configuration, logs and sockets
	Listen  string // host:port of the proxy
	Admin   string // host:port of what the peer listens on besides
	Backend string // host:port of the backend
	// BackendHTTP2 is the backend of setups with HTTP/2, for those that speak it
	// to a backend.
	BackendHTTP2 string
	Setup        Setup // empty: HTTP1
	Certificate  Certificate
	// Silent says that the backend answers nothing: requests wait, and whether
	// the proxy runs is seen by its taking connections.
	Silent bool
	// Connections is how many clients are to be held at once.
	Connections int
}

// view is a Site as templates see it.
type view struct {
	Site
	Chain      bool // with what stands in every request's way in practice
	Host, Port string
	Service    string
	Root       bool
	Files      int
	KiB        string // 1024 bytes that stand in a configuration file as they are
}

// spare is how many descriptors a proxy needs besides its clients': those to
// the backend, logs, listeners.
const spare = 1000

// write renders a template into the site's folder and returns the file's path.
func (s Site) write(name string, chain bool) (string, error) {
	text, err := render(name, s, chain)
	if err != nil {
		return "", err
	}
	path := filepath.Join(s.Dir, name)
	return path, os.WriteFile(path, []byte(text), 0o644)
}

func render(name string, s Site, chain bool) (string, error) {
	t, err := template.New(name).Option("missingkey=error").ParseFS(templates, "templates/"+name)
	if err != nil {
		return "", fmt.Errorf("template %s: %w", name, err)
	}
	v := view{
		Site: s, Chain: chain, Service: Service, Root: os.Geteuid() == 0, Files: s.Connections + spare,
		KiB: strings.Repeat("x", 1024),
	}
	if v.Host, v.Port, err = net.SplitHostPort(s.Listen); err != nil {
		return "", fmt.Errorf("listen: %w", err)
	}
	var b strings.Builder
	if err := t.Execute(&b, v); err != nil {
		return "", fmt.Errorf("template %s: %w", name, err)
	}
	return b.String(), nil
}

// find finds a program on the path, and where Debian puts servers.
func find(program string) (string, error) {
	if path, err := exec.LookPath(program); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s is not installed: run bash bench/install.sh, or leave it out with -only", program)
}

// ask runs a program for its version and returns the first line of what it
// says, on whichever stream.
func ask(ctx context.Context, program string, args ...string) (string, error) {
	path, err := find(program)
	if err != nil {
		return "", err
	}
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line, nil
}
