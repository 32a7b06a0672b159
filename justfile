# Short names for what is otherwise typed often; `just` alone lists them.

_list:
    @just --list

# the README's first minute: a gateway with a built-in upstream
demo:
    cargo run --release -- demo

# everything a change must pass (`just test --fast` for the inner loop)
test *options:
    ./scripts/test {{options}}

# compare with HAProxy, nginx and Envoy
bench *options:
    cargo build --release
    ./scripts/bench {{options}}

fmt:
    cargo fmt --all
