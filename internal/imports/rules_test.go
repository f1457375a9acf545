package imports

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The rules themselves are tried on packages that do not exist, so that a rule
// that forbids nothing is noticed.
func TestEveryBanIsKept(t *testing.T) {
	tests := []struct {
		name, importer, imported string
		test                     bool // the import is a test's
		banned                   bool
	}{
		{name: "program imports program", importer: "sidecar/command", imported: "controlplane/command", banned: true},
		{name: "program's test imports program", importer: "sidecar/command", imported: "controlplane/command", test: true, banned: true},
		{name: "control plane imports the sidecar", importer: "controlplane/internal/api", imported: "sidecar/server", banned: true},
		{name: "cmdb-sync imports the control plane", importer: "cmdb-sync/command", imported: "controlplane/command", banned: true},
		{name: "program imports its own", importer: "sidecar/command", imported: "sidecar/internal/proxy"},
		{name: "shared room imports a program", importer: "internal/run", imported: "sidecar/command", banned: true},
		{name: "middleware imports a program", importer: "middleware/retry", imported: "sidecar/server", banned: true},
		{name: "middleware imports the registry", importer: "middleware/retry", imported: "registry", banned: true},
		{name: "registry imports middleware", importer: "registry/mesh", imported: "middleware", banned: true},
		{name: "sidecar imports both", importer: "sidecar/server", imported: "middleware"},
		{name: "bench imports a program", importer: "bench/hop", imported: "sidecar/command", banned: true},
		{name: "protobufs in the model", importer: "controlplane/internal/mesh", imported: "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3", banned: true},
		{name: "protobufs in xds", importer: "controlplane/internal/xds/translate", imported: "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"},
		{name: "protobufs in a folder of a like name", importer: "controlplane/internal/xdsx", imported: "github.com/cncf/xds/go/xds/core/v3", banned: true},
		{name: "client-go in the mesh", importer: "controlplane/internal/mesh", imported: "k8s.io/client-go/rest", banned: true},
		{name: "client-go in objects", importer: "controlplane/internal/object", imported: "k8s.io/client-go/rest", banned: true},
		{name: "client-go in its source", importer: "controlplane/internal/source/kubernetes", imported: "k8s.io/client-go/rest"},
		{name: "gateway types in objects", importer: "controlplane/internal/object", imported: "sigs.k8s.io/gateway-api/apis/v1"},
		{name: "gateway types in translate", importer: "controlplane/internal/xds/translate", imported: "sigs.k8s.io/gateway-api/apis/v1", banned: true},
		{name: "driver in the store", importer: "controlplane/internal/store", imported: "github.com/jackc/pgx/v5", banned: true},
		{name: "driver in its source", importer: "cmdb-sync/source/sql", imported: "github.com/jackc/pgx/v5"},
		{name: "bolt in the sidecar", importer: "sidecar/internal/xds", imported: "go.etcd.io/bbolt", banned: true},
		{name: "yaml beside conf", importer: "sidecar/internal/config", imported: "github.com/goccy/go-yaml", banned: true},
		{name: "gin in the proxy", importer: "sidecar/internal/proxy", imported: "github.com/gin-gonic/gin", banned: true},
		{name: "old log", importer: "sidecar/internal/proxy", imported: "log", banned: true},
		{name: "slog", importer: "sidecar/internal/proxy", imported: "log/slog"},
		{name: "old rand", importer: "internal/balance", imported: "math/rand", banned: true},
		{name: "new rand", importer: "internal/balance", imported: "math/rand/v2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := Package{Path: tt.importer, Imports: []string{tt.imported}}
			if tt.test {
				p.Imports, p.TestImports = nil, p.Imports
			}
			found := Check([]Package{p}, Bans)
			if (len(found) > 0) != tt.banned {
				t.Errorf("found %q, want banned = %v", found, tt.banned)
			}
		})
	}
}

func TestMessageNamesBothAndTheReason(t *testing.T) {
	bans := []Ban{{Of: []string{"b"}, In: []string{"a"}, Because: "it is so"}}
	want := []string{"a/x imports b/y: it is so"}
	if diff := cmp.Diff(want, Check([]Package{{Path: "a/x", Imports: []string{"b/y", "c"}}}, bans)); diff != "" {
		t.Error(diff)
	}
}

func TestEveryLinkBanIsKept(t *testing.T) {
	tests := []struct {
		program, dep string
		banned       bool
	}{
		{"sidecar", "k8s.io/client-go/kubernetes", true},
		{"sidecar", "sigs.k8s.io/gateway-api/apis/v1", true},
		{"controlplane", "sigs.k8s.io/gateway-api/apis/v1", false},
		{"sidecar", "go.etcd.io/etcd/server/v3/embed", true},
		{"sidecar", "go.etcd.io/etcd/client/v3", false},
		{"sidecar", "github.com/jackc/pgx/v5", true},
		{"sidecar", "go.etcd.io/bbolt", true},
		{"controlplane", "go.etcd.io/bbolt", false},
		{"controlplane", "github.com/go-sql-driver/mysql", true},
		{"cmdb-sync", "github.com/go-sql-driver/mysql", false},
		{"cmdb-sync", "go.etcd.io/bbolt", true},
		{"sidecar", "github.com/go-git/go-git/v5", true},
		{"controlplane", "go.uber.org/goleak", true},
	}
	for _, tt := range tests {
		found := CheckLinks(tt.program, []string{"net/http", tt.dep}, LinkBans)
		if (len(found) > 0) != tt.banned {
			t.Errorf("%s linking %s: found %q, want banned = %v", tt.program, tt.dep, found, tt.banned)
		}
	}
}

func TestReasonsAreGiven(t *testing.T) {
	for _, b := range Bans {
		if b.Because == "" || len(b.Of) == 0 {
			t.Errorf("a ban without a reason, or of nothing: %+v", b)
		}
	}
	for _, b := range LinkBans {
		if b.Because == "" || len(b.Of) == 0 || len(b.In) == 0 {
			t.Errorf("a ban without a reason, of nothing, or for nobody: %+v", b)
		}
	}
}
