package shop

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/outrigger-mesh/outrigger/examples/internal/lab"
	"github.com/outrigger-mesh/outrigger/examples/quickstart/config"
)

// defaults are the addresses in the quickstart's configuration files, by what
// they are for. Each stands for one thing only, so that it can be replaced.
var defaults = []struct{ key, addr string }{
	{"gateway", "127.0.0.1:8000"},
	{"gateway admin", "127.0.0.1:15900"},
	{"control plane xds", "127.0.0.1:18000"},
	{"control plane api", "127.0.0.1:18080"},
	{"orders-1 app", "127.0.0.1:8081"},
	{"orders-1 inbound", "127.0.0.1:15006"},
	{"orders-1 outbound", "127.0.0.1:15001"},
	{"orders-1 admin", "127.0.0.1:15000"},
	{"users-1 app", "127.0.0.1:9101"},
	{"users-1 inbound", "127.0.0.1:15106"},
	{"users-1 admin", "127.0.0.1:15100"},
	{"users-2 app", "127.0.0.1:9102"},
	{"users-2 inbound", "127.0.0.1:15206"},
	{"users-2 admin", "127.0.0.1:15200"},
	{"users-3 app", "127.0.0.1:9103"},
	{"users-3 inbound", "127.0.0.1:15306"},
	{"users-3 admin", "127.0.0.1:15300"},
	{"catalog-1 app", "127.0.0.1:9201"},
	{"catalog-1 inbound", "127.0.0.1:15406"},
	{"catalog-1 admin", "127.0.0.1:15400"},
	{"catalog-2 app", "127.0.0.1:9202"},
	{"catalog-2 inbound", "127.0.0.1:15506"},
	{"catalog-2 admin", "127.0.0.1:15500"},
	{"promo-1 app", "127.0.0.1:9301"},
	{"promo-1 inbound", "127.0.0.1:15606"},
	{"promo-1 admin", "127.0.0.1:15600"},
}

// defaultsSign is held open by the one shop on this machine that may use the
// default addresses: those of processes that are started later are free for a
// while, and two shops would both count on them.
const defaultsSign = "127.0.0.1:15099"

// Moved is an address that is not the default one.
type Moved struct{ Key, From, To string }

// addresses is what every process of this run listens at.
type addresses struct {
	by    map[string]string
	moved []Moved
	ports *lab.Ports
	sign  io.Closer // of the default addresses; nil where they are left alone
}

func (a *addresses) close() error {
	err := a.ports.Close()
	if a.sign != nil {
		err = errors.Join(err, a.sign.Close())
	}
	return err
}

// newAddresses takes the default addresses where they are free and others where
// they are not. It takes only others where alone says so, and where another
// shop has the default ones.
func newAddresses(alone bool) (*addresses, error) {
	ports, err := lab.NewPorts()
	if err != nil {
		return nil, err
	}
	a := &addresses{by: map[string]string{}, ports: ports}
	if !alone {
		if a.sign, err = lab.Claim(defaultsSign); err != nil {
			alone = true
		}
	}
	for _, d := range defaults {
		addr := d.addr
		if alone || !lab.Free(addr) {
			if addr, err = ports.Take(); err != nil {
				return nil, errors.Join(fmt.Errorf("an address for %s: %w", d.key, err), a.close())
			}
			a.moved = append(a.moved, Moved{Key: d.key, From: d.addr, To: addr})
		}
		a.by[d.key] = addr
	}
	return a, nil
}

// write puts the configuration files onto the stage, with the addresses of
// this run in place of the default ones.
func (a *addresses) write(stage *lab.Stage) error {
	pairs := make([]string, 0, 2*len(defaults))
	for _, d := range defaults {
		pairs = append(pairs, d.addr, a.by[d.key])
	}
	replacer := strings.NewReplacer(pairs...)
	return fs.WalkDir(config.Files, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := config.Files.ReadFile(path)
		if err != nil {
			return err
		}
		_, err = stage.Write(path, []byte(replacer.Replace(string(content))))
		return err
	})
}
