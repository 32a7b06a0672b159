//! Harness of the black-box tests: gateways, upstreams, raw clients.
