//! One gateway alone, seen from outside: every chapter starts the real binary and talks to it.

mod bodies;
mod commands;
mod control_path;
mod destinations;
mod examples;
mod exchanges;
mod fail_closed;
mod forward_proxy;
mod http2;
mod interim;
mod limits;
mod operations;
mod paths;
mod policies;
mod proxy_protocol;
mod reload;
mod rewriting;
mod routing;
mod rules;
mod shutdown;
mod smuggling;
mod smuggling_corpus;
mod timeouts;
mod tls;
mod upgrade;
mod variables;
