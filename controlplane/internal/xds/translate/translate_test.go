package translate_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"github.com/goccy/go-yaml"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/mesh"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/object"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/source"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/xds/translate"
	"github.com/outrigger-mesh/outrigger/registry"
)

// TestTranslate runs testdata/*.txt. The commands:
//
//	objects                  the YAML objects that there are now
//	instances node=N         what node N has now, a line each:
//	                         service.namespace port-name address [key=value…]
//	show (type/name …)       the resources of these names
//	from place=R/Z name=N    the endpoints of N for a client in that region and
//	                         zone: priority, locality, weight, addresses
//	names                    the names of all resources
//
// objects and instances print what changes: + for set with other content, = for
// set with the same, - for removed.
func TestTranslate(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		w := newWorld(t)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "objects":
				return w.objects(d.Input)
			case "instances":
				var node string
				d.ScanArgs(t, "node", &node)
				return w.instances(t, node, d.Input)
			case "show":
				var out strings.Builder
				for _, arg := range d.CmdArgs {
					out.WriteString(w.show(t, arg.Key))
				}
				return out.String()
			case "from":
				var place, name string
				d.ScanArgs(t, "place", &place)
				d.ScanArgs(t, "name", &name)
				return w.from(t, place, name)
			case "names":
				return strings.Join(slices.Sorted(maps.Keys(w.resources)), "\n") + "\n"
			}
			t.Fatalf("unknown command %q", d.Cmd)
			return ""
		})
	})
}

// world is a mesh and the resources that its changes add up to.
type world struct {
	updates   chan source.Update
	resources map[string]proto.Message // by type/name
	zones     map[string]*translate.Zones
	log       []string // of the last change
}

func newWorld(t *testing.T) *world {
	w := &world{updates: make(chan source.Update), resources: map[string]proto.Message{}, zones: map[string]*translate.Zones{}}
	m := mesh.New(mesh.Options{
		Logger: slog.New(slog.DiscardHandler), Sources: []string{"test"}, Metrics: prometheus.NewRegistry(),
		Publish: func(c mesh.Change) { w.apply(t, translate.Change(c)) },
	})
	w.apply(t, translate.Changes{Set: translate.Static()})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx, w.updates) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	w.updates <- source.Update{Source: "test", Synced: true}
	<-m.Ready()
	return w
}

var kinds = map[string]string{
	"Cluster": "cds", "ClusterLoadAssignment": "eds", "Listener": "lds", "RouteConfiguration": "rds",
}

func key(r translate.Ref) string {
	return kinds[r.Type[strings.LastIndexByte(r.Type, '.')+1:]] + "/" + r.Name
}

func (w *world) apply(t *testing.T, c translate.Changes) {
	w.log = nil
	for _, r := range c.Set {
		validate(t, r.Message)
		sign := "+ "
		if was, ok := w.resources[key(r.Ref)]; ok && proto.Equal(was, r.Message) {
			sign = "= "
		}
		w.resources[key(r.Ref)] = r.Message
		w.zones[r.Name] = r.Zones
		w.log = append(w.log, sign+key(r.Ref))
	}
	for _, r := range c.Remove {
		if _, ok := w.resources[key(r)]; !ok {
			t.Errorf("%s is removed and was not there", key(r))
		}
		delete(w.resources, key(r))
		w.log = append(w.log, "- "+key(r))
	}
	slices.Sort(w.log)
}

// validate wants that Envoy's own rules hold for the resource.
func validate(t *testing.T, m proto.Message) {
	if err := m.(interface{ ValidateAll() error }).ValidateAll(); err != nil {
		t.Errorf("invalid: %v\n%s", err, protojson.Format(m))
	}
	if l, ok := m.(*listenerv3.Listener); ok {
		inner, err := l.GetApiListener().GetApiListener().UnmarshalNew()
		if err != nil {
			t.Fatal(err)
		}
		validate(t, inner)
	}
}

func (w *world) send(u source.Update) string {
	w.log = nil
	served := make(chan struct{})
	u.Source, u.Done = "test", func() { close(served) }
	w.updates <- u
	<-served
	return strings.Join(append(w.log, ""), "\n")
}

func (w *world) objects(input string) string {
	objects, err := object.Parse("objects.yaml", []byte(input))
	if err != nil {
		return err.Error() + "\n"
	}
	return w.send(source.Update{Key: "objects", Content: source.Of(objects...)})
}

func (w *world) instances(t *testing.T, node, input string) string {
	u := source.Update{Key: node}
	for line := range strings.Lines(input) {
		words := strings.Fields(line)
		name, namespace, _ := strings.Cut(words[0], ".")
		i := registry.Instance{
			InstanceKey: registry.InstanceKey{
				Network: "default", Node: node, PortName: words[1],
				Service: registry.ServiceName{Namespace: namespace, Name: name},
			},
			Address: words[2], Status: registry.StatusUp, Weight: 1, Protocol: registry.ProtocolHTTP,
		}
		for _, word := range words[3:] {
			key, value, _ := strings.Cut(word, "=")
			number, _ := strconv.ParseUint(value, 10, 16)
			switch key {
			case "zone":
				i.Locality.Region, i.Locality.Zone, _ = strings.Cut(value, "/")
			case "weight":
				i.Weight = uint32(number)
			case "status":
				i.Status = registry.Status(value)
			case "port":
				i.PortNumber = uint16(number)
			case "protocol":
				i.Protocol = registry.Protocol(value)
			case "version":
				i.Version = value
			case "host":
				i.Host = value
			case "meta":
				i.Metadata = map[string]string{"team": value}
			default:
				t.Fatalf("unknown key %q", key)
			}
		}
		u.Content.Instances = append(u.Content.Instances, source.Instance{Instance: i})
	}
	return w.send(u)
}

// from prints the form of an assignment for clients in a place.
func (w *world) from(t *testing.T, place, name string) string {
	var client registry.Locality
	client.Region, client.Zone, _ = strings.Cut(place, "/")
	m, ok := w.resources["eds/"+name].(*endpointv3.ClusterLoadAssignment)
	if !ok {
		return "not there\n"
	}
	form := "for all"
	if z := w.zones[name]; z != nil {
		if p := z.Place(client); p != (registry.Locality{}) {
			form, m = "for "+p.String(), z.Near(p)
			validate(t, m)
		}
	}
	lines := []string{form}
	for _, l := range m.GetEndpoints() {
		at := l.GetLocality()
		words := []string{fmt.Sprintf("%d %s/%s %d:", l.GetPriority(), at.GetRegion(), at.GetZone(), l.GetLoadBalancingWeight().GetValue())}
		for _, e := range l.GetLbEndpoints() {
			word := e.GetEndpoint().GetAddress().GetSocketAddress().GetAddress()
			if s := e.GetHealthStatus(); s != corev3.HealthStatus_HEALTHY {
				word += "(" + s.String() + ")"
			}
			words = append(words, word)
		}
		lines = append(lines, strings.Join(words, " "))
	}
	return strings.Join(lines, "\n") + "\n"
}

// show prints a resource; a listener with what is packed in it.
func (w *world) show(t *testing.T, name string) string {
	m, ok := w.resources[name]
	if !ok {
		return fmt.Sprintf("# %s: not there\n", name)
	}
	j, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	y, err := yaml.JSONToYAML(j)
	if err != nil {
		t.Fatal(err)
	}
	return "# " + name + "\n" + string(y)
}
