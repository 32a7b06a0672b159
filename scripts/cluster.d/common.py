"""What the scripts of the cluster share: where things are, programs, ports, waiting, and asking over HTTP."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What is made and not kept in git: credentials, resources of one's own, and the state of local processes.
STATE = ROOT / (os.environ.get("PORTCULLIS_CLUSTER_DIR") or "target/cluster")
CONFIG = ROOT / "config" / "cluster"
# The one file that scripts themselves put among the resources of one's own, and what it is called until it is complete.
GIVEN, GIVEN_NEXT = "portcullis-chaos.yaml", ".portcullis-chaos.next"
# As many as config/cluster/gateways.cfg and the range of admin ports in docker-compose.yml have places for.
REPLICAS_MAX = 10
# Above everything that is waited for on a busy machine, a drain among it.
PATIENCE_S = 60


def fail(code, message):
    """Ends the script with an exit code of sysexits.h."""
    print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr)
    sys.exit(code)


class Signals:
    """Signals that ask for the end of the script raise SystemExit, so that every `finally` is run; the first one only."""

    ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    came, held, ended = None, 0, False

    @classmethod
    def end_the_script(cls):
        for number in cls.ENDING:
            # Who started the script may have wanted one ignored: nohup, or a shell in the background.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, cls._note)

    @classmethod
    def _note(cls, number, _frame):
        cls.came = cls.came or number
        cls._end()

    @classmethod
    def _end(cls):
        if cls.came and not cls.held and not cls.ended:
            cls.ended = True
            sys.exit(128 + cls.came)

    @classmethod
    @contextlib.contextmanager
    def wait(cls):
        """In here they wait: what heals is not broken off."""
        cls.held += 1
        try:
            yield
        finally:
            cls.held -= 1
        cls._end()


def tool(name, package=None):
    """The path of a program. Debian puts haproxy where only root's PATH looks."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin")
    return found or fail(69, f"{name} is missing (on Debian and its relatives: sudo apt-get install {package or name})")


def run(*command, **options):
    """Runs a program and returns what it printed; ends the script when it fails."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=ROOT, **options)
    if done.returncode != 0:
        fail(70, f"`{' '.join(map(str, command))}` failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def eventually(what, fact):
    """The first true value of `fact()`; ends the script when there is none in time."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if value := fact():
            return value
        time.sleep(0.05)
    fail(70, f"not seen within {PATIENCE_S} s: {what}")


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def ask(address, path, method="GET"):
    """Status and body of an answer, or (0, "") when there is none. `address` is (host, port)."""
    connection = http.client.HTTPConnection(*address, timeout=5)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


def ask_json(address, path, method="GET"):
    """The body of an answer of 200, or None."""
    status, body = ask(address, path, method)
    return json.loads(body) if status == 200 else None


def whole_number(text, most):
    """From 1 on, or None."""
    # Other alphabets have digits, too, which `int` may or may not read.
    plain = text.isascii() and text.isdigit() and len(text) <= 9
    return int(text) if plain and 1 <= int(text) <= most else None


def count(text):
    """How many replicas an argument asks for."""
    return whole_number(text, REPLICAS_MAX) or fail(64, f"`{text}` is no number of replicas from 1 to {REPLICAS_MAX}")


def entry_port():
    return port("PORTCULLIS_ENTRY_PORT", "8080")


def state_port():
    return port("PORTCULLIS_STATE_PORT", "8404")


def port(variable, default):
    text = os.environ.get(variable) or default
    return whole_number(text, 65535) or fail(64, f"{variable} is `{text}`: expected a port from 1 to 65535")
