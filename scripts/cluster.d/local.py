"""The cluster as local processes on loopback: redis-server, HAProxy twice (entry and upstream) and gateways.

Everything lies in `run` below the state folder: process ids, logs, each replica's own copy of the resources, Redis' data.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from common import CONFIG, GIVEN, REPLICAS_MAX, ROOT, STATE, Signals, ask, entry_port, eventually, fail, is_free, run, state_port, tool

RUN = STATE / "run"
PLAN = RUN / "plan.json"
LINKS = RUN / "links.json"
# Below the ports that the kernel gives to outgoing connections, so that none of them takes a stopped replica's place.
FIRST_BASE, LAST_BASE, BLOCK = 12000, 17900, 100


class Local:
    kind = "local processes"

    @staticmethod
    def runs():
        return PLAN.exists()

    # --- up and down

    def up(self, replicas):
        if self.runs():
            return self.scale(replicas)
        binary = gateway_binary()
        redis, haproxy = tool("redis-server"), tool("haproxy")
        for port in (entry_port(), state_port()):
            is_free(port) or fail(69, f"port {port} is taken (PORTCULLIS_ENTRY_PORT and PORTCULLIS_STATE_PORT name others)")
        run(ROOT / "scripts" / "make-dev-certs", env=os.environ | {"PORTCULLIS_CLUSTER_DIR": str(STATE)})
        shutil.rmtree(RUN, ignore_errors=True)
        (RUN / "redis").mkdir(parents=True)
        base = free_block()
        PLAN.write_text(json.dumps({"base": base, "binary": binary, "redis": redis, "haproxy": haproxy}))
        self._write_links({})
        (RUN / "gateways.cfg").write_text(backend(base))
        self.start_service("redis")
        launch("links", sys.executable, Path(__file__).with_name("links.py"), LINKS)
        self.start_service("echo")
        binds = {"ENTRY_BIND": f"127.0.0.1:{entry_port()}", "STATE_BIND": f"127.0.0.1:{state_port()}"}
        launch("entry", haproxy, "-db", "-f", CONFIG / "entry.cfg", "-f", RUN / "gateways.cfg", more=binds)
        self.scale(replicas)

    def scale(self, replicas):
        for number in range(1, REPLICAS_MAX + 1):
            name = f"gateway-{number}"
            if number <= replicas and not alive(name):
                self.start(name)
            if number > replicas and (RUN / f"{name}.pid").exists():
                self.stop(name)
                (RUN / f"{name}.pid").unlink()

    def down(self):
        for file in sorted(RUN.glob("*.pid")):
            if file.stem == "redis":
                self.thaw("redis")
            end(file.stem, signal.SIGKILL if file.stem.startswith("gateway") else signal.SIGTERM)
        shutil.rmtree(RUN, ignore_errors=True)

    def notes(self):
        return [f"logs     {os.path.relpath(RUN)}/*.log"]

    # --- who is there

    def names(self):
        return sorted((file.stem for file in RUN.glob("gateway-*.pid")), key=number_of)

    def admin(self, name):
        return ("127.0.0.1", admin_port(plan()["base"], number_of(name))) if alive(name) else None

    # --- faults

    def kill(self, name):
        end(name, signal.SIGKILL)

    def stop(self, name):
        end(name, signal.SIGTERM)

    def start(self, name, environment=None):
        """Starts a replica, with further variables, and waits until it serves. One that is still there ends first."""
        self.stop(name)
        base, number = plan()["base"], number_of(name)
        self._write_links({name: {"port": base + 50 + number, "delay_ms": 0, "cut": False}})
        eventually(f"the link of {name} listens", lambda: not is_free(base + 50 + number))
        copy_resources(name, base)
        variables = {key: value for key, value in os.environ.items() if not key.startswith("PORTCULLIS_")}
        variables |= credentials() | (environment or {})
        variables |= {"REDIS_ADDRESS": f"127.0.0.1:{base + 50 + number}"}
        variables |= {"PORTCULLIS_GATEWAY__ID": "cluster", "PORTCULLIS_GATEWAY__REPLICA": name}
        folders = [word for folder in ("apis", "more") for word in ("--config", RUN / name / folder)]
        variables |= {"PORTCULLIS_DYNAMIC_PORT__ENABLED": "true", "PORTCULLIS_DYNAMIC_PORT__VALUE": "8080"}
        variables |= {"PORTCULLIS_DYNAMIC_PORT__VARIABLE": "PORT", "PORT": str(port_of(base, number))}
        admin = ("127.0.0.1", admin_port(base, number))
        launch(name, plan()["binary"], "run", *folders, "--admin", f"127.0.0.1:{admin[1]}", environment=variables)
        eventually(f"{name} is ready ({RUN / name}.log)", lambda: ask(admin, "/probes/readiness")[0] == 200)

    def kill_service(self, service):
        end(service, signal.SIGKILL)

    def start_service(self, service):
        """Starts it; one that is still there ends first."""
        self.kill_service(service)
        base = plan()["base"]
        if service == "echo":
            launch("echo", plan()["haproxy"], "-db", "-f", CONFIG / "echo.cfg", more={"ECHO_BIND": f"127.0.0.1:{base + 1}"})
            return
        files = STATE / "credentials" / "redis"
        launch(
            "redis", plan()["redis"], CONFIG / "redis.conf", "--bind", "127.0.0.1", "--tls-port", base, "--dir", RUN / "redis",
            "--tls-cert-file", files / "redis.crt", "--tls-key-file", files / "redis.key",
            "--tls-ca-cert-file", files / "ca.crt", "--aclfile", files / "users.acl",
        )
        eventually(f"Redis listens ({RUN}/redis.log)", lambda: not is_free(base))

    def freeze(self, service):
        send(service, signal.SIGSTOP)

    def thaw(self, service):
        send(service, signal.SIGCONT)

    @contextlib.contextmanager
    def pulses(self, service, still_s, flowing_s):
        """Stands still and goes on in turns."""
        # Not longer than this process, and never still at its end.
        script = "while kill -0 $PPID 2>/dev/null && kill -STOP $0; do sleep $1; kill -CONT $0; sleep $2; done"
        beat = subprocess.Popen(["bash", "-c", script, str(pid_of(service)), str(still_s), str(flowing_s)])
        try:
            yield f"{service} stood still for {still_s * 1000:.0f} ms again and again"
        finally:
            with Signals.wait():
                beat.kill()
                beat.wait()
                self.thaw(service)

    @contextlib.contextmanager
    def slow_redis(self):
        """Redis 50 ms away, from every replica."""
        self._change_links(lambda _, link: link | {"delay_ms": 25})
        try:
            yield "redis was 50 ms away"
        finally:
            with Signals.wait():
                self._change_links(lambda _, link: link | {"delay_ms": 0})

    def cut(self, name):
        """Lets nothing through between a replica and Redis, and tells neither."""
        self._change_links(lambda link_name, link: link | {"cut": True} if link_name == name else link)

    def join(self, name):
        self._change_links(lambda link_name, link: link | {"cut": False} if link_name == name else link)

    def _change_links(self, change):
        links = json.loads(LINKS.read_text())["links"]
        self._write_links({name: change(name, link) for name, link in links.items()})

    def _write_links(self, changed):
        links = json.loads(LINKS.read_text())["links"] if LINKS.exists() else {}
        beside = LINKS.with_suffix(".next")
        beside.write_text(json.dumps({"target": plan()["base"], "links": links | changed}))
        beside.rename(LINKS)

    # --- configuration

    def write_api(self, replica, text):
        """Gives one replica one more file of resources."""
        beside = RUN / replica / "next"
        beside.write_text(localized(text, plan()["base"]))
        beside.rename(RUN / replica / "more" / GIVEN)

    def remove_api(self, replica):
        (RUN / replica / "more" / GIVEN).unlink(missing_ok=True)

    # --- clocks

    def wall_clock(self, name):
        """A file that says how far a replica's wall clock is off, and the variables that make it so; or None and why not."""
        if not shutil.which("faketime"):
            return None, "faketime is missing (on Debian and its relatives: sudo apt-get install faketime)"
        library = run("faketime", "-m", "-f", "+0", "printenv", "LD_PRELOAD").strip()
        file = RUN / name / "clock"
        return file, {
            "LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1", "NO_FAKE_STAT": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1",
        }


# --- places

def plan():
    return json.loads(PLAN.read_text())


def number_of(name):
    return int(name.rpartition("-")[2])


def port_of(base, number):
    return base + 10 + number


def admin_port(base, number):
    return base + 30 + number


def free_block():
    """The first port of a block that nobody listens in."""
    for base in range(FIRST_BASE, LAST_BASE, BLOCK):
        if all(is_free(port) for port in range(base, base + BLOCK)):
            return base
    fail(69, f"no {BLOCK} free ports in a row between {FIRST_BASE} and {LAST_BASE}")


def backend(base):
    """The entry's backend: a place for every replica that there may be."""
    lines = [
        "backend gateways", "  balance leastconn", "  option httpchk",
        "  http-check send meth GET uri /probes/readiness ver HTTP/1.1 hdr Host localhost",
        "  default-server check inter 200ms fastinter 100ms fall 2 rise 1",
    ]
    for number in range(1, REPLICAS_MAX + 1):
        lines.append(f"  server gateway-{number} 127.0.0.1:{port_of(base, number)} port {admin_port(base, number)}")
    return "\n".join(lines) + "\n"


def localized(text, base):
    """A resource for the replicas on this host: other addresses to listen at and to call. It is the same for all, each
    listens at its own PORT (`dynamic_port`)."""
    return text.replace("0.0.0.0:8080", "127.0.0.1:8080").replace("echo:8081", f"127.0.0.1:{base + 1}")


def copy_resources(name, base):
    for folder in ("apis", "more"):
        (RUN / name / folder).mkdir(parents=True, exist_ok=True)
    for file in (CONFIG / "apis").glob("*.yaml"):
        (RUN / name / "apis" / file.name).write_text(localized(file.read_text(), base))


def credentials():
    """The variables of gateway.env; a value in quotes may have several lines."""
    variables, rest = {}, (STATE / "credentials" / "gateway.env").read_text()
    while "=" in rest:
        name, _, rest = rest.partition("=")
        quoted = rest.startswith("'")
        variables[name.strip()], _, rest = rest[quoted:].partition("'" if quoted else "\n")
    return variables


def gateway_binary():
    """$PORTCULLIS_BIN, or the release profile, which is built."""
    if given := os.environ.get("PORTCULLIS_BIN"):
        return str(Path(given).absolute()) if os.access(given, os.X_OK) else fail(66, f"{given} cannot be run")
    print("building the release profile", flush=True)
    cargo = os.environ.get("CARGO", "cargo")
    built = [cargo, "build", "--release", "--locked", "--package", "portcullis", "--bin", "portcullis", "--target-dir", "target"]
    subprocess.run(built, cwd=ROOT, check=True)
    return str(ROOT / "target" / "release" / "portcullis")


# --- processes: known by their id and the moment of their start, since ids come again

def launch(name, *command, environment=None, more=None):
    # None is started that nobody knows of.
    with Signals.wait(), open(RUN / f"{name}.log", "ab") as log:
        process = subprocess.Popen(
            [str(word) for word in command], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, cwd=RUN,
            env=(environment or dict(os.environ)) | (more or {}), start_new_session=True,
        )
        (RUN / f"{name}.pid").write_text(f"{process.pid} {started(process.pid)}\n")


def started(pid):
    """When a process started, in ticks since the boot; None when it is gone, or dead and not yet waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]


def pid_of(name):
    """The id of a process that lives, or None."""
    try:
        pid, moment = (RUN / f"{name}.pid").read_text().split()
    except OSError:
        return None
    return int(pid) if started(pid) == moment else None


def alive(name):
    return pid_of(name) is not None


def send(name, number):
    if pid := pid_of(name):
        os.kill(pid, number)


def end(name, number):
    """Sends a signal and waits until the process is gone."""
    send(name, number)
    eventually(f"{name} ends", lambda: not alive(name))
