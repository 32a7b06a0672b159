"""Portcullis and its peers, each set up to do the same work with one worker."""

import json
from dataclasses import dataclass
from pathlib import Path

import machine
from certificates import CIPHERS, GROUPS, NAME, SUITES, Certificates

FORWARDED = ("x-forwarded-for", "x-forwarded-proto", "x-request-id")


@dataclass(frozen=True)
class Setup:
    """What a proxy is set up for. All of them can do all of it, policies apart: those are Portcullis's."""

    upstream: str = "files"  # a name of upstreams.STARTERS
    h2_in: bool = False  # listens for HTTP/2; in clear text by prior knowledge
    h2_out: bool = False  # speaks it to the upstream
    tls_in: bool = False  # listens for TLS 1.2 and 1.3
    tls_out: bool = False  # speaks it to the upstream, whose certificate is verified
    misled: bool = False  # trusts another authority than the upstream's
    tunnels: bool = False  # passes on Upgrade: websocket
    base_paths: tuple = ("/",)  # one API each
    policies: bool = False
    limit: str = ""  # that is never reached: "in-process", "shared" through Redis, "far" with a Redis that is not near
    connections: int = 4096

    @property
    def alpn(self):
        return "h2" if self.h2_in else "http/1.1"

    @property
    def scheme(self):
        return "https" if self.tls_in else "http"


@dataclass(frozen=True)
class Place:
    """Where a proxy runs, and what it finds there."""

    directory: Path  # its own
    port: int
    upstream: int  # the port of what it forwards to
    storage: int  # the port of Redis; None where nothing is shared
    certificates: Certificates  # None where there is no TLS
    trusted: Path  # the authority of the upstream's certificate; None likewise
    plain: bool  # peers add no header
    binary: str  # of Portcullis


NGINX = """
{user} worker_processes 1; daemon off; pid {dir}/nginx.pid; error_log {dir}/nginx.log error;
events {{ worker_connections {connections}; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; {temp}
  upstream behind {{ server 127.0.0.1:{upstream}; keepalive 256; keepalive_requests 1000000000; keepalive_timeout 1h; }}
  server {{
    listen 127.0.0.1:{port} {ssl} {h2} backlog=4096; {tls_in}
    {passing}
    {headers}
    {locations}
  }}
}}
"""
NGINX_TLS = (
    "ssl_certificate {crt}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets on; "
    f"ssl_prefer_server_ciphers on; ssl_ciphers {':'.join(CIPHERS)}; ssl_conf_command Ciphersuites {':'.join(SUITES)}; "
    f"ssl_ecdh_curve {':'.join(GROUPS)};"
)
NGINX_TLS_OUT = (
    f"proxy_ssl_protocols TLSv1.2 TLSv1.3; proxy_ssl_server_name on; proxy_ssl_name {NAME}; "
    "proxy_ssl_verify on; proxy_ssl_trusted_certificate {trusted};"
)


def nginx_words(directory, name):
    """What nginx needs to stay inside `directory`."""
    temp = directory / f"{name}-temp"
    temp.mkdir()
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return {
        "user": "user root;" if machine.is_root() else "",
        "temp": " ".join(f"{kind}_temp_path {temp}/{kind};" for kind in kinds),
        "dir": directory,
    }


def nginx(setup, place):
    module, scheme = ("grpc", "grpc") if setup.h2_out else ("proxy", "https" if setup.tls_out else "http")
    passing = [] if setup.h2_out else ["proxy_http_version 1.1;", 'proxy_set_header Connection "";']
    if setup.tunnels:
        passing[1] = 'proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"; proxy_read_timeout 1h;'
    if setup.tls_out:
        passing.append(NGINX_TLS_OUT.format(trusted=place.trusted))
    values = ("$proxy_add_x_forwarded_for", "$scheme", "$request_id")
    headers = [] if place.plain else [f"{module}_set_header {name} {value};" for name, value in zip(FORWARDED, values)]
    config = place.directory / "nginx.conf"
    config.write_text(NGINX.format(
        port=place.port, upstream=place.upstream, connections=setup.connections, h2="http2" if setup.h2_in else "",
        ssl="ssl" if setup.tls_in else "", tls_in=NGINX_TLS.format(**vars(place.certificates)) if setup.tls_in else "",
        passing=" ".join(passing), headers=" ".join(headers),
        locations="\n    ".join(f"location {base} {{ {module}_pass {scheme}://behind; }}" for base in setup.base_paths),
        **nginx_words(place.directory, "nginx"),
    ))
    return [machine.tool("nginx"), "-e", str(place.directory / "nginx.log"), "-p", str(place.directory), "-c", str(config)]


HAPROXY = """
global
  nbthread 1
  maxconn {connections}
  no strict-limits
  tune.ssl.cachesize 0
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout tunnel 1h
  timeout http-keep-alive 1h
  http-reuse always
frontend in
  bind 127.0.0.1:{port} backlog 4096 {protocol}
{headers}
  {choose}
backend behind
  server upstream 127.0.0.1:{upstream} pool-max-conn 256 {protocol_out}
"""
HAPROXY_HEADERS = """  option forwardfor
  http-request set-header x-forwarded-proto {scheme}
  unique-id-format %[uuid()]
  unique-id-header x-request-id"""
HAPROXY_TLS = (
    f"ssl crt {{both}} alpn {{alpn}} ssl-min-ver TLSv1.2 curves {':'.join(GROUPS)} "
    f"ciphers {':'.join(CIPHERS)} ciphersuites {':'.join(SUITES)}"
)
HAPROXY_TLS_OUT = f"ssl ssl-min-ver TLSv1.2 sni str({NAME}) verify required verifyhost {NAME} ca-file {{trusted}}"


def haproxy(setup, place):
    choose = "default_backend behind"
    if len(setup.base_paths) > 1:
        table = place.directory / "base-paths.map"
        table.write_text("".join(f"{base} behind\n" for base in setup.base_paths))
        choose = f"use_backend %[path,map_beg({table})]"
    protocol = "proto h2" if setup.h2_in else ""
    if setup.tls_in:
        protocol = HAPROXY_TLS.format(both=place.certificates.both, alpn=setup.alpn)
    protocol_out = "proto h2" if setup.h2_out else ""
    if setup.tls_out:
        protocol_out = HAPROXY_TLS_OUT.format(trusted=place.trusted)
    config = place.directory / "haproxy.cfg"
    config.write_text(HAPROXY.format(
        port=place.port, upstream=place.upstream, connections=setup.connections, choose=choose,
        headers="" if place.plain else HAPROXY_HEADERS.format(scheme=setup.scheme),
        protocol=protocol, protocol_out=protocol_out,
    ))
    return [machine.tool("haproxy"), "-db", "-f", str(config)]


ENVOY_TLS = {
    "tls_minimum_protocol_version": "TLSv1_2", "tls_maximum_protocol_version": "TLSv1_3",
    "cipher_suites": CIPHERS, "ecdh_curves": GROUPS,
}


def envoy(setup, place):
    """Router only. Envoy adds x-forwarded-proto and x-request-id unasked."""
    address = lambda number: {"socket_address": {"address": "127.0.0.1", "port_value": number}}
    typed = lambda name, **fields: {"@type": f"type.googleapis.com/envoy.extensions.{name}", **fields}
    routes = [{"match": {"prefix": base}, "route": {"cluster": "behind", "timeout": "0s"}} for base in setup.base_paths]
    manager = typed(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="bench",
        codec_type="HTTP2" if setup.h2_in else "HTTP1",
        use_remote_address=not place.plain,
        generate_request_id=not place.plain,
        upgrade_configs=[{"upgrade_type": "websocket"}] if setup.tunnels else [],
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        http_filters=[{"name": "router", "typed_config": typed("filters.http.router.v3.Router")}],
    )
    protocol = {"http2_protocol_options" if setup.h2_out else "http_protocol_options": {}}
    endpoint = {"endpoint": {"address": address(place.upstream)}}
    filters = {"filters": [{"name": "http", "typed_config": manager}]}
    if setup.tls_in:
        filters["transport_socket"] = {"name": "tls", "typed_config": typed(
            "transport_sockets.tls.v3.DownstreamTlsContext", common_tls_context={
                "tls_params": ENVOY_TLS, "alpn_protocols": [setup.alpn],
                "tls_certificates": [{
                    "certificate_chain": {"filename": str(place.certificates.crt)},
                    "private_key": {"filename": str(place.certificates.key)},
                }],
            })}
    cluster = {
        "name": "behind", "type": "STATIC", "connect_timeout": "5s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": typed(
            "upstreams.http.v3.HttpProtocolOptions", explicit_http_config=protocol)},
        "load_assignment": {"cluster_name": "behind", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    if setup.tls_out:
        names = [{"san_type": "DNS", "matcher": {"exact": NAME}}]
        cluster["transport_socket"] = {"name": "tls", "typed_config": typed(
            "transport_sockets.tls.v3.UpstreamTlsContext", sni=NAME, common_tls_context={
                "tls_params": ENVOY_TLS,
                "validation_context": {
                    "trusted_ca": {"filename": str(place.trusted)}, "match_typed_subject_alt_names": names},
            })}
    config = {"static_resources": {
        "listeners": [{"name": "in", "address": address(place.port), "filter_chains": [filters]}],
        "clusters": [cluster],
    }}
    file = place.directory / "envoy.json"
    file.write_text(json.dumps(config))
    return [machine.envoy(), "-c", str(file), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]


# One service behind all APIs, as the peers have one upstream.
PORTCULLIS_SERVICE = """apiVersion: gateway.mulesoft.com/v1alpha1
kind: Service
metadata: {{name: behind}}
spec: {{address: "{address}:{upstream}"}}
"""
PORTCULLIS_ROUTE = """---
apiVersion: gateway.mulesoft.com/v1alpha1
kind: PolicyBinding
metadata: {{name: route-{number}}}
spec:
  targetRef: {{kind: ApiInstance, name: bench-{number}}}
  policyRef: {{name: route}}
  config: {{destinationRef: {{kind: Service, name: behind}}}}
"""
PORTCULLIS_API = """---
apiVersion: gateway.mulesoft.com/v1alpha1
kind: ApiInstance
metadata: {{name: bench-{number}}}
spec:
  address: {scheme}://127.0.0.1:{port}{base_path}
"""
PORTCULLIS_TLS = """---
apiVersion: gateway.mulesoft.com/v1alpha1
kind: PolicyBinding
metadata: {{name: {policy}}}
spec:
  targetRef: {target}
  policyRef: {{name: {policy}}}
  config: {config}
"""
# Windows of ten seconds that are never used up; without Redis it would refuse.
PORTCULLIS_LIMIT = """---
apiVersion: gateway.mulesoft.com/v1alpha1
kind: PolicyBinding
metadata: {{name: limit}}
spec:
  targetRef: {{kind: ApiInstance, name: bench-0}}
  policyRef: {{name: rate-limiting-flex}}
  config:
    rateLimits: [{{maximumRequests: 1000000000, timePeriodInMilliseconds: 10000}}]
    clusterizable: {shared}
    blockOnUnknownQuota: true
"""
PORTCULLIS_STORAGE = """---
apiVersion: gateway.mulesoft.com/v1beta1
kind: Configuration
metadata: {{name: shared}}
spec: {{sharedStorage: {{redis: {{address: "127.0.0.1:{port}"}}}}}}
"""
# None of them refuses a request of the load, and each has something to do; `debug` is below the level `info`.
PORTCULLIS_POLICIES = """  policies:
    - policyRef: {name: message-logging-flex}
      config:
        loggingConfiguration:
          - itemName: quiet
            itemData: {message: "#[attributes.method ++ ' ' ++ attributes.requestUri]", level: DEBUG, secondSection: true}
    - policyRef: {name: rate-limiting-flex}
      config:
        rateLimits: [{maximumRequests: 1000000000, timePeriodInMilliseconds: 3600000}]
        clusterizable: false
    - policyRef: {name: http-basic-authentication-flex}
      config: {username: bench, password: bench}
    - policyRef: {name: header-injection-flex}
      config:
        inboundHeaders: [{key: x-edge, value: bench}]
        outboundHeaders: [{key: x-served-by, value: bench}]
"""


def portcullis(setup, place):
    folder = place.directory / "portcullis"
    folder.mkdir()
    policies = PORTCULLIS_POLICIES if setup.policies else ""
    # The name in the certificate is the one in the address.
    address = f"https://{NAME}" if setup.tls_out else "h2://127.0.0.1" if setup.h2_out else "http://127.0.0.1"
    resources = [PORTCULLIS_SERVICE.format(address=address, upstream=place.upstream)]
    for number, base in enumerate(setup.base_paths):
        api = PORTCULLIS_API.format(number=number, scheme=setup.scheme, port=place.port, base_path=base.rstrip("/"))
        resources += [api, policies, PORTCULLIS_ROUTE.format(number=number)]
    if setup.limit:
        resources.append(PORTCULLIS_LIMIT.format(shared=str(setup.limit != "in-process").lower()))
    if place.storage:
        resources.append(PORTCULLIS_STORAGE.format(port=place.storage))
    if setup.tls_in:
        certificate = {"key": place.certificates.key.read_text(), "crt": place.certificates.crt.read_text()}
        config = json.dumps({"certificate": certificate, "alpn": [setup.alpn]})
        resources.append(PORTCULLIS_TLS.format(policy="tls", target="{kind: ApiInstance, name: bench-0}", config=config))
    if setup.tls_out:
        config = json.dumps({"trustedCA": place.trusted.read_text()})
        resources.append(PORTCULLIS_TLS.format(policy="tls-outbound", target="{kind: Service, name: behind}", config=config))
    (folder / "apis.yaml").write_text("".join(resources))
    return [place.binary, "run", "--config", str(folder), "--workers", "1", "--admin", f"127.0.0.1:{machine.free_port()}"]


COMMANDS = {"portcullis": portcullis, "haproxy": haproxy, "nginx": nginx, "envoy": envoy}
PEERS = [name for name in COMMANDS if name != "portcullis"]
