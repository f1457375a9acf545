package command

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/outrigger-mesh/outrigger/controlplane/internal/api"
	"github.com/outrigger-mesh/outrigger/controlplane/internal/object"
	xds "github.com/outrigger-mesh/outrigger/controlplane/internal/xds/serve"
	"github.com/outrigger-mesh/outrigger/internal/run"
	"github.com/outrigger-mesh/outrigger/registry"
)

const defaultNamespace = registry.DefaultNamespace

func withNamespace(c *cobra.Command, namespace *string) {
	c.Flags().StringVarP(namespace, "namespace", "n", "", "`namespace`; of a name it is "+defaultNamespace+" unless given, of a list all")
}

// exactArgs wants that many arguments.
func exactArgs(n int, message string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != n {
			return run.Usage(fmt.Errorf("%s", message))
		}
		return nil
	}
}

func getCommand() *cobra.Command {
	var server, output, namespace string
	c := &cobra.Command{
		Use: "get KIND [NAME]", Short: "Show objects of the store, or the services, endpoints and proxies that are known",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 || len(args) > 2 {
				return run.Usage(fmt.Errorf("get needs a kind and perhaps a name, as in: get meshservices, get host netbox-17, get endpoints"))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			out, err := newOutput(output, c.OutOrStdout())
			if err != nil {
				return err
			}
			cl, err := newClient(server)
			if err != nil {
				return err
			}
			if view, ok := views[strings.ToLower(args[0])]; ok {
				if len(args) > 1 {
					return run.Usage(fmt.Errorf("get %s shows all of them: it takes no name", args[0]))
				}
				return view(c.Context(), cl, namespace, out)
			}
			k, err := objectKind(args[0])
			if err != nil {
				return err
			}
			if len(args) == 1 {
				return getList(c.Context(), cl, k, namespace, out)
			}
			key, err := objectKey(k, namespace, args[1])
			if err != nil {
				return err
			}
			return getOne(c.Context(), cl, k, key, out)
		},
	}
	withOutput(c, &output)
	withNamespace(c, &namespace)
	return withServer(c, &server)
}

func getOne(ctx context.Context, c *client, k object.Kind, key string, out *output) error {
	var raw json.RawMessage
	if err := c.call(ctx, http.MethodGet, "/v1/"+k.Plural+"/"+key, nil, &raw); err != nil {
		return err
	}
	if !out.table() {
		return out.print(raw)
	}
	return printObjects(k, []json.RawMessage{raw}, out)
}

// getList reads all pages of a collection, of one revision. Where that is gone
// before the last page was read, it begins again.
func getList(ctx context.Context, c *client, k object.Kind, namespace string, out *output) error {
	const attempts = 3
	var items []json.RawMessage
	var err error
	for range attempts {
		if items, err = readPages(ctx, c, k, namespace); !compacted(err) {
			break
		}
	}
	if err != nil {
		return err
	}
	if !out.table() {
		if items == nil {
			items = []json.RawMessage{}
		}
		return out.print(map[string]any{"apiVersion": "v1", "kind": "List", "items": items})
	}
	if len(items) == 0 {
		_, err := fmt.Fprintf(out.w, "there are no %s in the store\n", k.Plural)
		return err
	}
	return printObjects(k, items, out)
}

func compacted(err error) bool {
	e, ok := err.(*api.Error) //nolint:errorlint // client.call returns it as it is
	return ok && e.Reason == api.ReasonCompacted
}

func readPages(ctx context.Context, c *client, k object.Kind, namespace string) ([]json.RawMessage, error) {
	var items []json.RawMessage
	query := url.Values{}
	if namespace != "" {
		query.Set("namespace", namespace)
	}
	for {
		var page struct {
			Revision, Next string
			Items          []json.RawMessage
		}
		if err := c.call(ctx, http.MethodGet, "/v1/"+k.Plural+"?"+query.Encode(), nil, &page); err != nil {
			return nil, err
		}
		items = append(items, page.Items...)
		if page.Next == "" {
			return items, nil
		}
		query.Set("after", page.Next)
		query.Set("revision", page.Revision)
	}
}

// printObjects prints objects as a table.
func printObjects(k object.Kind, items []json.RawMessage, out *output) error {
	var t *table
	switch k.Name {
	case object.KindHost:
		t = newTable("NAME", "HOST", "STATUS", "REGION", "ZONE", "ADDRESSES", "IN FORCE")
	case object.KindMeshService:
		t = newTable("NAMESPACE", "NAME", "PORTS", "ENDPOINTS", "IN FORCE")
	default:
		t = newTable("NAMESPACE", "NAME", "PARENTS", "HOSTNAMES", "IN FORCE")
	}
	for _, raw := range items {
		doc, err := object.ParseJSON("answer", raw)
		if err != nil {
			return fmt.Errorf("the answer has an object that is not understood: %w", err)
		}
		var head struct{ Status api.ObjectStatus }
		if err := json.Unmarshal(raw, &head); err != nil {
			return fmt.Errorf("the answer has an object that is not understood: %w", err)
		}
		t.add(append(objectRow(doc.Object), inForce(head.Status))...)
	}
	return t.write(out)
}

func inForce(s api.ObjectStatus) cell {
	for _, c := range s.Conditions {
		if c.Type == "Programmed" && c.Status != "True" {
			return cell{"no: " + c.Message, yellow}
		}
	}
	return plain("yes")
}

func objectRow(o object.Object) []cell {
	m := o.Metadata()
	switch o := o.(type) {
	case *object.Host:
		l := o.Spec.Locality
		return []cell{
			plain(m.Name), plain(orDash(o.Spec.Name)), status(string(o.Spec.Status)), plain(orDash(l.Region)), plain(orDash(l.Zone)),
			plain(orDash(strings.Join(o.Spec.Addresses, ","))),
		}
	case *object.MeshService:
		var ports []string
		for _, p := range o.Ports {
			text := fmt.Sprintf("%s:%d", p.Name, p.Number)
			if p.Protocol != "" { // declared
				text += "/" + string(p.Protocol)
			}
			ports = append(ports, text)
		}
		return []cell{plain(m.Namespace), plain(m.Name), plain(strings.Join(ports, ",")), plain(strconv.Itoa(len(o.Endpoints)))}
	case *object.HTTPRoute:
		var parents []string
		for _, p := range o.Parents {
			parents = append(parents, fmt.Sprintf("%s/%s/%s", p.Kind, p.Namespace, p.Name))
		}
		return []cell{plain(m.Namespace), plain(m.Name), plain(strings.Join(parents, ",")), plain(orDash(strings.Join(o.Hostnames, ",")))}
	}
	return []cell{plain(m.Name)}
}

// views are what get shows besides objects, by its name.
var views = map[string]func(ctx context.Context, c *client, namespace string, out *output) error{
	"services":  getServices,
	"endpoints": getEndpoints,
	"proxies":   getProxies,
}

// view reads what is at a path: as it is for JSON and YAML, and decoded into v
// for a table.
func view(ctx context.Context, c *client, path string, out *output, v any, t func() *table) error {
	var raw json.RawMessage
	if err := c.call(ctx, http.MethodGet, path, nil, &raw); err != nil {
		return err
	}
	if !out.table() {
		return out.print(raw)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("the answer to %s is not understood: %w", path, err)
	}
	return t().write(out)
}

func getServices(ctx context.Context, c *client, namespace string, out *output) error {
	var body struct{ Services []api.Service }
	return view(ctx, c, "/v1/services?"+url.Values{"namespace": {namespace}}.Encode(), out, &body, func() *table {
		t := newTable("NAMESPACE", "NAME", "PORT", "UP", "ENDPOINTS", "XDS NAME")
		for _, s := range body.Services {
			for _, p := range s.Ports {
				up := cell{strconv.Itoa(p.Up), green}
				if p.Up == 0 {
					up.colour = red
				}
				t.add(plain(s.Namespace), plain(s.Name), plain(p.Name), up, plain(strconv.Itoa(p.Endpoints)), plain(p.XDS))
			}
		}
		return t
	})
}

func getEndpoints(ctx context.Context, c *client, namespace string, out *output) error {
	var body struct{ Endpoints []api.Endpoint }
	return view(ctx, c, "/v1/endpoints?"+url.Values{"namespace": {namespace}}.Encode(), out, &body, func() *table {
		t := newTable("XDS NAME", "ADDRESS", "STATUS", "LOCALITY", "HOST", "NODE", "SOURCE")
		for _, e := range body.Endpoints {
			shown := status(string(e.Status))
			if e.StatusSource == "host" {
				shown.text += " (host)"
			}
			locality := orDash(e.Locality.String())
			if e.LocalitySource == "host" {
				locality += " (host)"
			}
			host := e.Host
			if e.Machine.Object != "" {
				host = e.Machine.Object
			}
			t.add(plain(e.XDS), plain(e.Address), shown, plain(locality), plain(orDash(host)), plain(e.Node), plain(e.Source))
		}
		return t
	})
}

func getProxies(ctx context.Context, c *client, _ string, out *output) error {
	var body struct{ Proxies []xds.Proxy }
	return view(ctx, c, "/v1/proxies", out, &body, func() *table {
		t := newTable("NODE", "PEER", "LOCALITY", "HELD", "NACKS", "REFUSES NOW")
		for _, p := range body.Proxies {
			held, nacks, refuses := 0, 0, ""
			for _, s := range p.Types {
				held, nacks = held+s.Held, nacks+s.NACKs
				if s.NACK != "" {
					refuses = s.NACK
				}
			}
			locality := orDash(registry.Locality{Region: p.Region, Zone: p.Zone}.String())
			if p.LocalitySource == xds.FromHost {
				locality += " (host)"
			}
			t.add(plain(p.Node), plain(p.Peer), plain(locality), plain(strconv.Itoa(held)), plain(strconv.Itoa(nacks)), cell{orDash(refuses), red})
		}
		return t
	})
}
