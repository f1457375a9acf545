package xds

import (
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/outrigger-mesh/outrigger/sidecar/internal/route"
)

// routerType is the HTTP filter that forwards: what our router is anyway.
const routerType = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"

var (
	listenerFields = allow("name api_listener", "stat_prefix metadata")
	hcmFields      = allow("rds route_config http_filters", `codec_type stat_prefix add_user_agent tracing
		common_http_protocol_options http1_safe_max_connection_duration http_protocol_options http2_protocol_options
		http3_protocol_options server_name server_header_transformation max_request_headers_kb stream_idle_timeout
		stream_flush_timeout request_timeout request_headers_timeout drain_timeout drain_timeout_jitter
		delayed_close_timeout access_log access_log_flush_interval flush_access_log_on_new_request
		access_log_options use_remote_address xff_num_trusted_hops skip_xff_append via generate_request_id
		preserve_external_request_id always_set_request_id_in_response proxy_100_continue upgrade_configs
		strip_matching_host_port strip_any_host_port stream_error_on_invalid_http_message
		add_proxy_protocol_connection_state record_route_resolution_stats`)
	rdsFields = allow("config_source route_config_name", "")
)

// listenerResource is a Listener in the client's form: exactly one is set.
type listenerResource struct {
	rds    string // the name of its route configuration
	inline *route.Config
}

func decodeListener(name string, body *anypb.Any) (listenerResource, error) {
	var l listenerv3.Listener
	if err := unpack(body, &l); err != nil {
		return listenerResource{}, err
	}
	var p problems
	p.named(l.GetName(), name)
	p.check("", &l, listenerFields)
	api := l.GetApiListener().GetApiListener()
	if api == nil {
		p.addf("", "has no api_listener")
		return listenerResource{}, p.err()
	}
	var hcm hcmv3.HttpConnectionManager
	if err := unpack(api, &hcm); err != nil {
		p.addf("api_listener", "%v", err)
		return listenerResource{}, p.err()
	}
	r := decodeHCM(&p, &hcm)
	return r, p.err()
}

func decodeHCM(p *problems, hcm *hcmv3.HttpConnectionManager) listenerResource {
	const at = "api_listener"
	p.check(at, hcm, hcmFields)
	for i, f := range hcm.GetHttpFilters() {
		if f.GetTypedConfig().GetTypeUrl() != routerType && !f.GetIsOptional() && !f.GetDisabled() {
			p.addf(at, "http_filters[%d]: filter %q of type %q is not supported",
				i, f.GetName(), f.GetTypedConfig().GetTypeUrl())
		}
	}
	if rc := hcm.GetRouteConfig(); rc != nil {
		return listenerResource{inline: decodeRouteConfig(p, at+".route_config", rc)}
	}
	rds := hcm.GetRds()
	if rds == nil {
		p.addf(at, "has neither rds nor route_config")
		return listenerResource{}
	}
	p.check(at+".rds", rds, rdsFields)
	if err := overADS(rds.GetConfigSource()); err != nil {
		p.addf(at+".rds", "%v", err)
	}
	if rds.GetRouteConfigName() == "" {
		p.addf(at+".rds", "route_config_name is empty")
	}
	return listenerResource{rds: rds.GetRouteConfigName()}
}

// overADS checks that a resource comes over the stream we have.
func overADS(s *corev3.ConfigSource) error {
	if s.GetAds() == nil && s.GetSelf() == nil {
		return fmt.Errorf("its source is %T, but only ads is supported", s.GetConfigSourceSpecifier())
	}
	return nil
}
