"""The cluster that scripts drive: containers of compose where Docker is running, local processes otherwise.

Both have the same verbs. A replica is known by its name; `admin(name)` is where it can be asked.
"""

import argparse
import csv
import sys

import common
from common import eventually, fail
from compose import Compose
from local import Local


def arguments(usage, **positional):
    """Reads `--local`, `--help` and the positional arguments given (name=options of argparse)."""
    parser = argparse.ArgumentParser(usage=usage.partition("Usage: ")[2].partition("\n")[0], add_help=False)
    parser.add_argument("--local", action="store_true")
    for name, options in positional.items():
        parser.add_argument(name, **options)
    return parse(parser, usage)


def parse(parser, usage):
    """What was asked for; prints the usage when that was. Also looks at what the environment asks for, before anything begins."""
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(usage.strip())
        sys.exit(0)
    parser.error = lambda message: fail(64, f"{message}\n{parser.format_usage().strip()}")
    options = parser.parse_args()
    common.entry_port(), common.state_port()
    return options


def choose(local):
    """The kind of cluster to start."""
    if Local.runs():
        return Local()
    return Local() if local or not Compose.works() else Compose()


def running(local=False):
    """The cluster that is up; ends the script when there is none."""
    cluster = choose(local)
    if not cluster.names():
        fail(69, "no cluster is up: scripts/cluster-up starts one")
    return cluster


def serving():
    """How many replicas the entry sends requests to."""
    status, table = common.ask(("127.0.0.1", common.state_port()), "/;csv")
    if status != 200:
        return 0
    rows = csv.DictReader(table.removeprefix("# ").splitlines())
    servers = [row for row in rows if row["pxname"] == "gateways" and row["svname"] != "BACKEND"]
    return sum(server["status"] == "UP" for server in servers)


def wait_until_serving(replicas):
    eventually(f"{replicas} replicas behind the entry", lambda: serving() == replicas)


def describe(cluster):
    """Prints what is where."""
    print(f"{cluster.kind}: {len(cluster.names())} replicas")
    print(f"  entry    http://127.0.0.1:{common.entry_port()}/limited/ (1,000 in 10 s) and /free/")
    print(f"  balancer http://127.0.0.1:{common.state_port()}/")
    for name in cluster.names():
        address = cluster.admin(name)
        print(f"  {name} admin {'http://%s:%s' % address if address else '(not running)'}")
    for line in cluster.notes():
        print(f"  {line}")
