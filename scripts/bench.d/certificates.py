"""The certificate that everybody presents in the loads over TLS, made by openssl for one run, and what clients prefer."""

import functools
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import machine

NAME = "localhost"
P256 = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
# In the order of preference. Envoy's suites of TLS 1.3 are the client's choice, Portcullis's groups are in this order anyhow.
SUITES = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
CIPHERS = ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305")
GROUPS = ("X25519", "P-256")
CONFIG = f"""
openssl_conf = all
[all]
ssl_conf = contexts
[contexts]
system_default = clients
[clients]
Ciphersuites = {':'.join(SUITES)}
Groups = {':'.join(GROUPS)}
[req]
distinguished_name = nobody
x509_extensions = authority
[nobody]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
authorityKeyIdentifier = keyid
subjectAltName = DNS:localhost, DNS:bench.test
"""


@dataclass(frozen=True)
class Certificates:
    """Files in PEM. The leaf is ECDSA on P-256, signed by the authority."""

    key: Path
    crt: Path
    both: Path  # as HAProxy reads them
    authority: Path
    stranger: Path  # an authority that has signed none of this
    config: Path  # of OpenSSL

    def for_clients(self):
        """The environment in which a client on OpenSSL prefers what the proxies prefer."""
        return os.environ | {"OPENSSL_CONF": str(self.config)}


@functools.cache
def of(directory):
    """Those of a run, below its directory; made when they are first asked for."""
    folder = directory / "certificates"
    folder.mkdir()
    config = folder / "openssl.cnf"
    config.write_text(CONFIG)

    def openssl(*arguments):
        done = subprocess.run([machine.tool("openssl"), *map(str, arguments)], capture_output=True, text=True, cwd=folder)
        if done.returncode != 0:
            machine.fail(70, f"openssl {arguments[0]} failed:\n{done.stderr}")

    for name in ("authority", "stranger"):
        openssl("req", "-config", config, "-x509", *P256, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt")
    openssl("req", "-config", config, *P256, "-subj", f"/CN={NAME}", "-keyout", "leaf.key", "-out", "leaf.csr")
    openssl(
        "x509", "-req", "-in", "leaf.csr", "-CA", "authority.crt", "-CAkey", "authority.key", "-CAcreateserial",
        "-extfile", config, "-extensions", "leaf", "-out", "leaf.crt",
    )
    made = Certificates(
        folder / "leaf.key", folder / "leaf.crt", folder / "leaf.both", folder / "authority.crt", folder / "stranger.crt", config)
    made.both.write_text(made.crt.read_text() + made.key.read_text())
    return made
