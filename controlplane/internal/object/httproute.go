package object

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	gateway "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/outrigger-mesh/outrigger/internal/conf"
	"github.com/outrigger-mesh/outrigger/registry"
)

// httpRouteFile is an HTTPRoute as it is written: the Gateway API's own type,
// and what this version carries of it. What an API server writes (uid and the
// like) is read and says nothing; a status may be anybody's.
type httpRouteFile struct {
	gateway.HTTPRoute `yaml:",inline"`
	Status            conf.Node `yaml:"status"`
}

func decodeHTTPRoute(n conf.Node) (Object, error) {
	var f httpRouteFile
	f.Namespace = registry.DefaultNamespace
	if err := n.Decode(&f); err != nil {
		return nil, err
	}
	r, err := FromHTTPRoute(&f.HTTPRoute)
	if err != nil {
		return nil, n.Errorf("%v", err) // Validate has said it before
	}
	r.Pos = n.Pos()
	return r, nil
}

// Validate implements the check that conf calls.
func (f *httpRouteFile) Validate() error {
	_, err := FromHTTPRoute(&f.HTTPRoute)
	return err
}

// FromHTTPRoute normalizes a route. Its error joins a conf.FieldError for each
// mistake and for each thing that this version does not carry.
func FromHTTPRoute(in *gateway.HTTPRoute) (*HTTPRoute, error) {
	c := &converter{namespace: in.Namespace}
	if err := checkSubdomain(in.Name); err != nil {
		c.add("metadata.name", "%v", err)
	}
	if err := registry.CheckName(in.Namespace); err != nil {
		c.add("metadata.namespace", "%v", err)
	}
	r := &HTTPRoute{Meta: Meta{
		ID:     ID{Kind: KindHTTPRoute, Namespace: in.Namespace, Name: in.Name},
		Labels: in.Labels, Annotations: in.Annotations, Created: in.CreationTimestamp.Time,
	}}
	r.Parents = c.parents(in.Spec)
	r.Hostnames = c.hostnames(in.Spec, r.Parents)
	if len(in.Spec.Rules) == 0 {
		c.add("spec.rules", "must have at least one rule")
	}
	names := map[string]int{}
	for i := range in.Spec.Rules {
		at := fmt.Sprintf("spec.rules[%d]", i)
		rule := c.rule(at, &in.Spec.Rules[i])
		if rule.Name != "" {
			if first, ok := names[rule.Name]; ok {
				c.add(at+".name", "%q is the name of spec.rules[%d] already", rule.Name, first)
			}
			names[rule.Name] = i
		}
		r.Rules = append(r.Rules, rule)
	}
	if err := errors.Join(c.errs...); err != nil {
		return nil, err
	}
	return r, nil
}

// converter collects what is wrong on the way.
type converter struct {
	namespace string
	errs      []error
}

func (c *converter) add(path, format string, args ...any) {
	c.errs = append(c.errs, conf.FieldErrorf(path, format, args...))
}

// refuse says that what stands at path is not carried.
func (c *converter) refuse(path string, present bool) {
	if present {
		c.add(path, "is not carried by this version")
	}
}

func (c *converter) parents(spec gateway.HTTPRouteSpec) []Parent {
	c.refuse("spec.useDefaultGateways", spec.UseDefaultGateways != "" && spec.UseDefaultGateways != gateway.GatewayDefaultScopeNone)
	if len(spec.ParentRefs) == 0 {
		c.add("spec.parentRefs", "must name at least one parent: a Gateway, a Service or a MeshService")
	}
	var parents []Parent
	seen := map[Parent]int{}
	for i, ref := range spec.ParentRefs {
		at := fmt.Sprintf("spec.parentRefs[%d]", i)
		p := Parent{Namespace: text(ref.Namespace, c.namespace), Name: string(ref.Name), Port: number(ref.Port)}
		if err := registry.CheckName(p.Name); err != nil {
			c.add(at+".name", "%v", err)
		}
		if err := registry.CheckName(p.Namespace); err != nil {
			c.add(at+".namespace", "%v", err)
		}
		c.port(at+".port", ref.Port)
		section := text(ref.SectionName, "")
		switch group, kind := text(ref.Group, gatewayGroup), text(ref.Kind, "Gateway"); {
		case group == gatewayGroup && kind == "Gateway":
			p.Kind = ParentGateway
			if section != "" {
				c.add(at+".sectionName", "names a listener of a Gateway object, which this version does not read: name its port instead")
			}
			if p.Port == 0 {
				p.Port = DefaultGatewayPort
			}
		case isService(group, kind):
			p.Kind, p.PortName = ParentService, section
			if p.Namespace != c.namespace {
				c.add(at+".namespace", "a route for the callers in one namespace alone (a consumer route) is not carried by this version: put the route into the service's namespace %q", p.Namespace)
			}
		default:
			c.add(at+".kind", "%s of group %q is no parent that this version knows: it is a Gateway, a Service or a MeshService", kind, group)
		}
		if first, ok := seen[p]; ok {
			c.add(at, "is the same parent as spec.parentRefs[%d]", first)
		}
		seen[p] = i
		parents = append(parents, p)
	}
	return parents
}

// isService reports whether a reference is to a service of the mesh. Without
// Kubernetes a core Service is the MeshService of its name.
func isService(group, kind string) bool {
	return group == "" && kind == "Service" || group == meshGroup && kind == KindMeshService
}

func (c *converter) hostnames(spec gateway.HTTPRouteSpec, parents []Parent) []string {
	toGateway := len(parents) == 0
	for _, p := range parents {
		toGateway = toGateway || p.Kind != ParentService
	}
	if len(spec.Hostnames) > 0 && !toGateway {
		c.add("spec.hostnames", "mean nothing where every parent is a service: callers name the service")
	}
	var hostnames []string
	seen := map[string]int{}
	for i, h := range spec.Hostnames {
		at := fmt.Sprintf("spec.hostnames[%d]", i)
		name := strings.ToLower(string(h))
		if err := checkSubdomain(strings.TrimPrefix(name, "*.")); err != nil {
			c.add(at, "%q is neither a host name nor *. and a host name", h)
			continue
		}
		if allDigits(name[strings.LastIndexByte(name, '.')+1:]) {
			c.add(at, "%q is an address: a hostname must be a name", h)
			continue
		}
		if first, ok := seen[name]; ok {
			c.add(at, "%q is spec.hostnames[%d] already", h, first)
			continue
		}
		seen[name] = i
		hostnames = append(hostnames, name)
	}
	return hostnames
}

func (c *converter) rule(at string, in *gateway.HTTPRouteRule) Rule {
	r := Rule{Name: text(in.Name, "")}
	if r.Name != "" {
		if err := checkSubdomain(r.Name); err != nil {
			c.add(at+".name", "%v", err)
		}
	}
	c.refuse(at+".filters", len(in.Filters) > 0)
	c.refuse(at+".retry", in.Retry != nil)
	c.refuse(at+".sessionPersistence", in.SessionPersistence != nil)
	for i := range in.Matches {
		r.Matches = append(r.Matches, c.match(fmt.Sprintf("%s.matches[%d]", at, i), &in.Matches[i]))
	}
	if len(in.Matches) == 0 {
		r.Matches = []Match{{PathKind: PathPrefix, Path: "/"}}
	}
	for i := range in.BackendRefs {
		r.Backends = append(r.Backends, c.backend(fmt.Sprintf("%s.backendRefs[%d]", at, i), &in.BackendRefs[i]))
	}
	if t := in.Timeouts; t != nil {
		c.refuse(at+".timeouts.backendRequest", t.BackendRequest != nil)
		if t.Request != nil {
			d, err := parseDuration(string(*t.Request))
			if err != nil {
				c.add(at+".timeouts.request", "%v", err)
			}
			r.Timeout = d
		}
	}
	return r
}

// maxBackendWeight is the Gateway API's bound.
const maxBackendWeight = 1_000_000

func (c *converter) backend(at string, in *gateway.HTTPBackendRef) Backend {
	b := Backend{
		Service: registry.ServiceName{Namespace: text(in.Namespace, c.namespace), Name: string(in.Name)},
		Port:    number(in.Port),
		Weight:  1,
	}
	if err := registry.CheckName(b.Service.Name); err != nil {
		c.add(at+".name", "%v", err)
	}
	if err := registry.CheckName(b.Service.Namespace); err != nil {
		c.add(at+".namespace", "%v", err)
	}
	group, kind := text(in.Group, ""), text(in.Kind, "Service")
	if !isService(group, kind) {
		c.add(at+".kind", "%s of group %q is no backend that this version knows: it is a Service or a MeshService", kind, group)
	}
	if in.Port == nil {
		c.add(at+".port", "must be given")
	}
	c.port(at+".port", in.Port)
	if in.Weight != nil {
		if *in.Weight < 0 || *in.Weight > maxBackendWeight {
			c.add(at+".weight", "must be from 0 to %d", maxBackendWeight)
		}
		b.Weight = uint32(max(*in.Weight, 0))
	}
	c.refuse(at+".filters", len(in.Filters) > 0)
	return b
}

func (c *converter) port(at string, port *int32) {
	if port != nil && (*port < 1 || *port > 65535) {
		c.add(at, "must be from 1 to 65535")
	}
}

// durationForm is the Gateway API's (GEP-2257), narrower than Go's.
var durationForm = regexp.MustCompile(`^([0-9]{1,5}(h|m|s|ms)){1,4}$`)

func parseDuration(s string) (time.Duration, error) {
	if !durationForm.MatchString(s) {
		return 0, fmt.Errorf("%q is not a duration such as 1h, 10s or 500ms", s)
	}
	return time.ParseDuration(s)
}

// text is what p points to, or the default.
func text[T ~string](p *T, def string) string {
	if p == nil {
		return def
	}
	return string(*p)
}

// number is a port reference; zero where it is absent or wrong, which
// converter.port tells.
func number(p *int32) uint16 {
	if p == nil || *p < 1 || *p > 65535 {
		return 0
	}
	return uint16(*p)
}
