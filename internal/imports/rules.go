package imports

import (
	"fmt"
	"slices"
	"strings"
)

// Module is the module whose packages are checked.
const Module = "github.com/outrigger-mesh/outrigger"

// Package is what the rules look at; paths in this module are without its
// prefix, such as sidecar/internal/xds.
type Package struct {
	Path        string
	Imports     []string // of the package itself
	TestImports []string // of its tests, besides
	Doc         string   // the package comment's first sentence
	HasCode     bool     // more than tests
}

// Ban is a rule about direct imports.
type Ban struct {
	// Of are the imports it bans, each with everything below it.
	Of []string
	// In are the packages it is for, each with everything below it; empty: all.
	In []string
	// But are exceptions from In, each with everything below it.
	But []string
	// NotBelow are exceptions from Of.
	NotBelow []string
	// Tests says that tests are bound by it too.
	Tests   bool
	Because string
}

// LinkBan is a rule about what a program links.
type LinkBan struct {
	Of      []string
	In      []string // programs
	Because string
}

var (
	programs = []string{"sidecar", "controlplane", "cmdb-sync"}

	// kubernetes is the one room that speaks to a Kubernetes API.
	kubernetes = "controlplane/internal/source/kubernetes"

	drivers = []string{
		"github.com/jackc/pgx", "github.com/lib/pq", "github.com/go-sql-driver/mysql", "github.com/mattn/go-sqlite3",
		"modernc.org/sqlite", "github.com/microsoft/go-mssqldb", "github.com/sijms/go-ora", "go.mongodb.org/mongo-driver/v2/mongo",
	}
)

// Bans are the rules about direct imports.
var Bans = []Ban{
	{
		Of: []string{"controlplane", "cmdb-sync"}, In: []string{"sidecar"}, Tests: true,
		Because: "programs never import each other: they meet over xDS, gRPC and HTTP",
	},
	{
		Of: []string{"sidecar", "cmdb-sync"}, In: []string{"controlplane"}, Tests: true,
		Because: "programs never import each other: they meet over xDS, gRPC and HTTP",
	},
	{
		Of: []string{"sidecar", "controlplane"}, In: []string{"cmdb-sync"}, Tests: true,
		Because: "programs never import each other: they meet over xDS, gRPC and HTTP",
	},
	{
		Of: programs, In: []string{"middleware", "registry", "internal"}, Tests: true,
		Because: "what programs share knows none of them, or it could not be used by the next one",
	},
	{
		Of: []string{"registry"}, In: []string{"middleware"}, Tests: true,
		Because: "a middleware sees requests and endpoints, not where endpoints come from",
	},
	{
		Of: []string{"middleware"}, In: []string{"registry"}, Tests: true,
		Because: "a registry is used without a proxy around it, by any Go-Micro program",
	},
	{
		Of: append([]string{"bench", "examples"}, programs...), In: []string{"bench"}, Tests: true,
		Because: "benchmarks drive the built programs from outside, as their peers are driven",
	},
	{
		Of: []string{"github.com/envoyproxy/go-control-plane", "github.com/cncf/xds"},
		But: []string{
			"controlplane/internal/xds", "sidecar/internal/xds", "registry/mesh", "internal/ads",
		},
		Because: "xDS is a way of transport: the model, the engines and the middlewares are plain Go",
	},
	{
		Of: []string{"k8s.io/client-go", "sigs.k8s.io/controller-runtime"}, But: []string{kubernetes, "internal/testenv"},
		Because: "Kubernetes is one source of several, and a site without it links nothing of it",
	},
	{
		Of: []string{"k8s.io", "sigs.k8s.io"}, But: []string{kubernetes, "internal/testenv", "controlplane/internal/object"},
		NotBelow: []string{"k8s.io/client-go", "sigs.k8s.io/controller-runtime"}, // those have a ban of their own
		Because:  "the Gateway API's types are a file format: past controlplane/internal/object everything is our model",
	},
	{
		Of: drivers, But: []string{"cmdb-sync/source", "internal/testenv"},
		Because: "a database driver belongs to the CMDB source that uses it",
	},
	{
		Of: []string{"go.etcd.io/bbolt"}, But: []string{"controlplane/internal/store"},
		Because: "the embedded database is one implementation of the store",
	},
	{
		Of:      []string{"github.com/goccy/go-yaml", "gopkg.in/yaml.v2", "gopkg.in/yaml.v3", "go.yaml.in/yaml", "sigs.k8s.io/yaml"},
		But:     []string{"internal/conf"},
		Because: "configuration is decoded strictly and with places by internal/conf, and other decoders are not",
	},
	{
		Of: []string{"github.com/gin-gonic/gin"}, But: []string{"controlplane/internal/api", "sidecar/internal/admin", "examples"},
		Because: "gin serves what people look at; no request of the mesh goes through it",
	},
	{
		Of: []string{"log", "math/rand", "io/ioutil"}, NotBelow: []string{"log/slog", "math/rand/v2"}, Tests: true,
		Because: "log/slog, math/rand/v2 and io and os have taken their place",
	},
}

// LinkBans are the rules about what programs link.
var LinkBans = []LinkBan{
	{
		Of: []string{"k8s.io/client-go", "k8s.io/api", "k8s.io/apimachinery", "sigs.k8s.io"}, In: []string{"sidecar", "cmdb-sync"},
		Because: "they run where no Kubernetes is, and the sidecar runs thousands of times",
	},
	{
		Of: []string{"go.etcd.io/etcd/server"}, In: programs,
		Because: "etcd is a server of its own",
	},
	{
		Of: append([]string{"go.etcd.io/bbolt"}, drivers...), In: []string{"sidecar"},
		Because: "a sidecar keeps no database",
	},
	{
		Of: []string{"go.etcd.io/bbolt"}, In: []string{"cmdb-sync"},
		Because: "the embedded database is the control plane's",
	},
	{
		Of: drivers, In: []string{"controlplane"},
		Because: "what a CMDB knows comes in through the control plane's API",
	},
	{
		Of: []string{"github.com/go-git", "gopkg.in/src-d/go-git.v4", "github.com/urfave/cli"}, In: programs,
		Because: "they come with micro.NewService, which none of the programs needs",
	},
	{
		Of: []string{"github.com/google/go-cmp", "go.uber.org/goleak", "github.com/rogpeppe/go-internal", "github.com/cockroachdb/datadriven", "github.com/coder/websocket", "github.com/mccutchen/go-httpbin"}, In: programs,
		Because: "a program links no test code",
	},
}

// Check is what packages import against the bans, one line each.
func Check(packages []Package, bans []Ban) []string {
	var found []string
	for _, p := range packages {
		for _, b := range bans {
			if len(b.In) > 0 && !belowAny(p.Path, b.In) || belowAny(p.Path, b.But) {
				continue
			}
			imports := slices.Clone(p.Imports)
			if b.Tests {
				imports = append(imports, p.TestImports...)
			}
			slices.Sort(imports)
			for _, i := range slices.Compact(imports) {
				if belowAny(i, b.Of) && !belowAny(i, b.NotBelow) && !sameRoom(p.Path, i) {
					found = append(found, fmt.Sprintf("%s imports %s: %s", p.Path, i, b.Because))
				}
			}
		}
	}
	return found
}

// sameRoom reports whether both are in one top-level folder of this module.
func sameRoom(a, b string) bool {
	roomA, _, _ := strings.Cut(a, "/")
	roomB, _, _ := strings.Cut(b, "/")
	return roomA == roomB
}

// CheckLinks is what a program links against the bans, one line each.
func CheckLinks(program string, deps []string, bans []LinkBan) []string {
	var found []string
	for _, b := range bans {
		if !slices.Contains(b.In, program) {
			continue
		}
		for _, d := range deps {
			if belowAny(d, b.Of) {
				found = append(found, fmt.Sprintf("%s links %s: %s", program, d, b.Because))
			}
		}
	}
	return found
}

// belowAny reports whether path is one of roots or below one.
func belowAny(path string, roots []string) bool {
	return slices.ContainsFunc(roots, func(root string) bool {
		return path == root || strings.HasPrefix(path, root+"/")
	})
}
