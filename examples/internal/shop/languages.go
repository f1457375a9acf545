package shop

import (
	"context"
	"errors"
	"os/exec"
	"strings"
	"time"

	"github.com/outrigger-mesh/outrigger/examples/internal/lab"
	"github.com/outrigger-mesh/outrigger/examples/quickstart/catalog"
	"github.com/outrigger-mesh/outrigger/examples/quickstart/promo"
	"github.com/outrigger-mesh/outrigger/examples/quickstart/users"
)

// Language is what runs the service that is written in it.
type Language struct {
	Name    string // Python
	Service string // users
	Path    string // of the program that runs it; empty where it is not installed
	Package string // of Debian, that has it

	script string
	source []byte
	args   func(addr string) []string
	env    []string // besides what every app gets
	where  []string // a command that prints the path of the program, if it is recent enough
}

// languages are those of the services that are not written in Go.
var languages = []Language{
	{
		Name: "Python", Service: "users", Package: "python3",
		script: "users.py", source: users.Script,
		args: func(string) []string { return []string{"users.py"} },
		// What is called python3 may be a script that picks one, so it is asked.
		where: []string{"python3", "-c", "import sys, http.server; assert sys.version_info >= (3, 7); print(sys.executable)"},
	},
	{
		Name: "Node.js", Service: "catalog", Package: "nodejs",
		script: "catalog.js", source: catalog.Script,
		args:  func(string) []string { return []string{"catalog.js"} },
		where: []string{"node", "-e", "if (parseInt(process.versions.node) < 18) process.exit(1); console.log(process.execPath)"},
	},
	{
		Name: "PHP", Service: "promo", Package: "php-cli",
		script: "promo.php", source: promo.Script,
		args:  func(addr string) []string { return []string{"-q", "-S", addr, "promo.php"} },
		env:   []string{"PHP_CLI_SERVER_WORKERS=4"}, // else it serves one request at a time
		where: []string{"php", "-r", "if (PHP_VERSION_ID < 80000) exit(1); echo PHP_BINARY, PHP_EOL;"},
	},
}

// FindLanguages looks for what runs the services on this machine.
func FindLanguages(ctx context.Context) (found, missing []Language) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for _, l := range languages {
		out, err := exec.CommandContext(ctx, l.where[0], l.where[1:]...).Output()
		if l.Path = strings.TrimSpace(string(out)); err != nil || l.Path == "" {
			l.Path = ""
			missing = append(missing, l)
			continue
		}
		found = append(found, l)
	}
	return found, missing
}

// writeScripts puts the services that are not written in Go onto the stage.
func writeScripts(stage *lab.Stage) error {
	var errs []error
	for _, l := range languages {
		_, err := stage.Write(l.script, l.source)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
