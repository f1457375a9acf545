// Package xds turns what a control plane says over xDS into routes, clusters
// and endpoints, and keeps the subscriptions to what the app calls.
//
// A listener is subscribed to when the app first calls it. It names its routes
// (RDS, or inline), those name clusters (CDS), those their endpoints (EDS):
// each is subscribed to while something names it. Routes are handed on when
// all of their clusters and the endpoints of those are there, so that no
// request meets a route whose cluster is unknown. One that the server does not
// have, or does not send within a time-out, counts as a cluster without
// endpoints. What routes no longer name goes after the routes.
//
// A resource that cannot be decoded, or that asks for something that would not
// be done, is refused with the reason (NACK), and the last good one stays. So
// does everything when the control plane is away. What is done, and what is
// left out because the request's way does not depend on it:
//
//	resource             done                                     ignored                        refused, if set
//	Listener             api_listener: HCM                        stat_prefix, metadata          all else
//	HCM                  rds (over ADS), route_config             what concerns accepting        scoped_routes, path normalization,
//	                                                              connections; access log,       HTTP filters other than the router
//	                                                              tracing                        that are neither optional nor disabled
//	RouteConfiguration   virtual_hosts                            validate_clusters, metadata    vhds, header changes, mirroring, filter
//	                                                                                             configs, cluster plugins
//	VirtualHost          domains (exact, *.suffix, *; a port      retry_policy, hedge_policy,    require_tls, cors, rate_limits, header
//	                     is left off), routes                     statistics, buffer limits      changes, domains of the form name.*
//	RouteMatch           prefix, path, path_separated_prefix,                                    runtime_fraction, cookies, grpc,
//	                     safe_regex, case_sensitive, headers,                                    tls_context, metadata, filter_state
//	                     :method (exact), query_parameters
//	HeaderMatcher        exact, regex, present, prefix, suffix,                                  range, treat_missing_header_as_empty
//	                     contains, in both forms; invert_match
//	Route                route, direct_response                   metadata, tracing, names,      redirect, filter_action, header changes
//	                                                              a body beside a status ≥ 400
//	RouteAction          cluster, weighted_clusters, timeout,     retry, hedge and hash          rewrites, mirroring, cluster_header,
//	                     max_stream_duration                      policies, priority, upgrades,  metadata_match, rate_limits
//	                                                              idle_timeout
//	Cluster              EDS over ADS, connect_timeout, HTTP/2    circuit breakers, outlier      other types and policies, TLS, subsets
//	                     ROUND_ROBIN, LEAST_REQUEST and RANDOM    detection, health checks,
//	                     as "any balancer of equals"              buffers, metadata
//	ClusterLoad-         addresses, locality, weights,            overprovisioning, proximity,   pipes, host names of resolvers, drops,
//	Assignment           priority, health_status                  metadata, hostname             named endpoints
//
// A route without a timeout has none, as for gRPC (Envoy would take 15 s).
package xds
