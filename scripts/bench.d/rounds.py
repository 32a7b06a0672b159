"""Rounds of one load: every proxy in turn, in reversed order every other round."""

import dataclasses
import http.client
import subprocess
import sys
import time

import certificates
import handshakes
import machine
from processes import Process, Running
from proxies import COMMANDS, PEERS, Place, Setup
from upstreams import wait_until_it_listens

WARM_UP_SECONDS = 1
MIB = 2**20


@dataclasses.dataclass
class Contestant:
    """A started proxy. `label` is its name, or for a second Portcullis what is different about it."""

    label: str
    setup: Setup
    port: int
    process: Process


def contestants(load, peers, ours):
    """(label, program, setup), Portcullis first."""
    mine = [("portcullis", "portcullis", load.setup)] if ours else []
    beside = [(label, "portcullis", setup) for label, setup in load.beside.items()] if ours else []
    if load.alone:
        return mine + beside
    return mine + beside + [(peer, peer, load.peers_setup or load.setup) for peer in peers]


class Bench:
    """What all measurements of a run share."""

    def __init__(self, directory, upstreams, binary, peers, plain, proxy_core, load_core):
        self.directory, self.upstreams, self.binary, self.peers, self.plain = directory, upstreams, binary, peers, plain
        self.proxy_core, self.load_core = proxy_core, load_core
        self.started = 0

    def start(self, running, label, program, setup):
        self.started += 1
        directory = self.directory / f"{self.started}-{program}"
        directory.mkdir()
        made = certificates.of(self.directory) if setup.tls_in or setup.tls_out else None
        trusted = made and (made.stranger if setup.misled else made.authority)
        upstream = self.upstreams.port(setup.upstream)
        storage = self.storage(setup)
        place = Place(directory, machine.free_port(), upstream, storage, made, trusted, self.plain, self.binary)
        command = COMMANDS[program](setup, place)
        if program == "portcullis":
            machine.validate(self.binary, directory / "portcullis")
        return Contestant(label, setup, place.port, running.start(label, command, self.proxy_core, directory / "said"))

    def storage(self, setup):
        if setup.limit not in ("shared", "far"):
            return None
        near = self.upstreams.port("redis")
        return near if setup.limit == "shared" else self.upstreams.port("far redis")

    def wait_until_right(self, contestant, generator):
        """Waits until the load's own question is answered as it must be; ends the run in the proxy's words if it never is."""
        deadline = time.monotonic() + 10
        problem = "nothing listens"
        while time.monotonic() < deadline and contestant.process.lives():
            try:
                problem = self.tls_problem(contestant) or generator.probe(contestant.port, contestant.setup)
            except machine.Unsupported as reason:
                if contestant.label not in PEERS:
                    raise
                problem = str(reason)
            except (OSError, http.client.HTTPException) as error:
                problem = str(error)
            if problem is None:
                return
            time.sleep(0.02)
        machine.fail(69, f"{contestant.label} does not serve ({problem}); it said:\n{contestant.process.said()}")

    def tls_problem(self, contestant):
        if not contestant.setup.tls_in:
            return None
        made = certificates.of(self.directory)
        arguments = ["probe", str(contestant.port), contestant.setup.alpn, str(made.authority)]
        said = subprocess.run(
            [sys.executable, handshakes.__file__, *arguments], env=made.for_clients(), capture_output=True, text=True)
        return (said.stdout + said.stderr).strip()

    def require_verification(self, load, label, program, setup):
        """Ends the run if this proxy forwards to an upstream whose certificate is not signed by the authority that it trusts."""
        with Running() as running:
            misled = self.start(running, label, program, dataclasses.replace(setup, misled=True))
            wait_until_it_listens(misled.process, misled.port)
            status, _, _ = load.generator.ask(misled.port, misled.setup, "/small", {})
            if status < 500:
                machine.fail(70, f"{label} does not verify the upstream's certificate: status {status}")

    def measure(self, load, rounds, seconds):
        """Figures of every round by label; raises Unsupported when Portcullis cannot carry this load."""
        with Running() as running:
            proxies = []
            for label, program, setup in contestants(load, self.peers, ours=self.binary is not None):
                if setup.tls_out:
                    self.require_verification(load, label, program, setup)
                contestant = self.start(running, label, program, setup)
                self.wait_until_right(contestant, load.generator)
                proxies.append(contestant)
            for contestant in proxies:
                self.run(load, contestant, WARM_UP_SECONDS)  # pools, caches and branch predictors
            results = {contestant.label: [] for contestant in proxies}
            for number in range(rounds):
                for contestant in proxies if number % 2 == 0 else proxies[::-1]:
                    results[contestant.label].append(self.run(load, contestant, seconds))
            return results

    def run(self, load, contestant, seconds):
        before = contestant.process.cpu_seconds()
        figures = load.generator.run(contestant.port, contestant.setup, seconds, self.load_core, self.directory)
        spent = contestant.process.cpu_seconds() - before
        return {
            **figures,
            "cpu_us_per_request": spent * 1e6 / figures["requests"],
            "rss_mib": contestant.process.rss_bytes() / MIB,
        }
