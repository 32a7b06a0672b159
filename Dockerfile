# The gateway's image: `scripts/images` builds it, `docker build -t portcullis:local .` too. Plain syntax, no BuildKit needed.
#
# Nothing is in the final image but the C library, authorities' certificates and the binary: no shell, no package manager. It
# runs as an unprivileged user and writes nothing, so the root may be read-only.
#
# The builder has the version of rust-toolchain.toml.
ARG BUILDER=docker.io/library/rust:1.95-bookworm
ARG BASE=gcr.io/distroless/cc-debian12:nonroot

FROM $BUILDER AS builder
WORKDIR /source
COPY . .
RUN cargo build --release --locked --package portcullis --bin portcullis && strip -o /portcullis target/release/portcullis

# From here on `scripts/images --offline` takes it too, with a binary of the host.
FROM $BASE
COPY --from=builder /portcullis /usr/bin/portcullis
USER 65532:65532
# The admin address: probes and metrics. It listens on loopback unless PORTCULLIS_ADMIN__ADDRESS says otherwise; publish it to
# trusted networks only, it asks for no password.
EXPOSE 8080 9902
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s CMD ["portcullis", "probe", "--check", "readiness"]
ENTRYPOINT ["portcullis"]
CMD ["run", "--config", "/etc/portcullis/apis"]
