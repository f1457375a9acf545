package examples_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/outrigger-mesh/outrigger/examples/internal/lab"
)

const clientsGuide = "docs/guides/clients.md"

// ways are those of the guide, and how its pieces of code name them.
var ways = []string{"with the Host field", "with http_proxy"}

// runners are how the code of a language is run. The name of the file follows.
var runners = map[string]struct {
	extension, before string
	command           []string
}{
	"sh":     {".sh", "", []string{"bash"}},
	"go":     {".go", "", []string{"go", "run"}},
	"python": {".py", "", []string{"python3"}},
	"js":     {".js", "", []string{"node"}},
	"php":    {".php", "<?php\n", []string{"php"}},
}

// TestClientsReachTheSidecarAsTheTableSays runs every piece of code of the guide
// through a sidecar.
func TestClientsReachTheSidecarAsTheTableSays(t *testing.T) {
	var reached atomic.Int64
	users := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached.Add(1)
		_, _ = fmt.Fprintf(w, "%s of %s\n", r.URL.Path, r.Host)
	}))
	defer users.Close()
	addrs := ports(t, 2)
	outbound, admin := addrs[0], addrs[1]
	runSidecar(t, admin, fmt.Sprintf("listen: {outbound: %s, admin: %s}\nupstreams: {users: {endpoints: [%s]}}\n",
		outbound, admin, users.Listener.Addr()))
	within(t, 20*time.Second, func(ctx context.Context) error { return lab.Healthy(ctx, "http://"+admin+"/readyz") })

	got := map[string][]string{}
	section, lang, code := "", "", ""
	for line := range strings.Lines(document(t, clientsGuide)) {
		fence, isFence := strings.CutPrefix(strings.TrimRight(line, "\n"), "```")
		switch {
		case isFence && lang == "":
			lang, code = fence, ""
		case isFence:
			before := reached.Load()
			printed := runClient(t, lang, code, outbound)
			worked := strings.Contains(printed, "/users/1 of users")
			if worked != (reached.Load() == before+1) {
				t.Errorf("%s: the service was reached %d times, printed:\n%s", section, reached.Load()-before, printed)
			}
			way := len(got[section])
			if way >= len(ways) || !strings.Contains(code, ways[way]) {
				t.Fatalf("%s: the code does not say that it is %q:\n%s", section, ways[min(way, 1)], code)
			}
			if way == 0 && !worked && !strings.Contains(printed, `"reason":"unknown_host"`) {
				t.Errorf("%s: printed:\n%s", section, printed)
			}
			got[section] = append(got[section], map[bool]string{true: "yes", false: "no"}[worked])
			lang = ""
		case lang != "":
			code += line
		case strings.HasPrefix(line, "## "):
			section = strings.TrimSpace(line[3:])
		}
	}

	want := map[string][]string{}
	row := regexp.MustCompile(`(?m)^\| ([^|]+) \| (yes|no) \| (yes|no) \|$`)
	for _, m := range row.FindAllStringSubmatch(document(t, clientsGuide), -1) {
		want[m[1]] = m[2:]
	}
	if len(want) < 8 {
		t.Errorf("the table has %d rows", len(want))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("what the clients can (-table +result):\n%s", diff)
	}
}

// runClient runs a piece of code and returns what it printed, whatever came of
// it.
func runClient(t *testing.T, lang, code, outbound string) string {
	t.Helper()
	runner, ok := runners[lang]
	if !ok {
		t.Fatalf("nobody knows how to run %q", lang)
	}
	host, port, _ := strings.Cut(outbound, ":")
	code = strings.NewReplacer("127.0.0.1:15001", outbound, `"127.0.0.1", 15001`, fmt.Sprintf("%q, %s", host, port)).Replace(code)
	file := filepath.Join(t.TempDir(), "client"+runner.extension)
	if err := os.WriteFile(file, []byte(runner.before+code), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, runner.command[0], append(runner.command[1:], file)...)
	for _, v := range cmd.Environ() {
		if !strings.Contains(strings.ToLower(v), "proxy") || strings.HasPrefix(v, "GO") {
			cmd.Env = append(cmd.Env, v)
		}
	}
	if strings.Contains(code, ways[1]) {
		cmd.Env = append(cmd.Env, "http_proxy=http://"+outbound)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || ctx.Err() != nil {
			t.Fatalf("internal/testenv/install.sh installs what runs %s: %v", lang, err)
		}
	}
	return out.String()
}
