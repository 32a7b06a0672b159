"""One fault: load before, during and after it, a verdict, and everything healed again."""

import argparse
import contextlib
import json
import random
import subprocess
import sys
import time
from pathlib import Path

import cluster as clusters
import common
from windows import WINDOW_S, Windows

# Over the two APIs of config/cluster/apis. The limited one is asked far more often than its limit allows.
CONNECTIONS = {"limited": 60, "free": 20}
RATES = {"limited": 400, "free": 100}
BEFORE_S = 3
# Long enough that a window begins and ends after the fault.
AFTER_S = 2 * WINDOW_S + 2
# The exit code of a fault that cannot be injected here.
SKIPPED = 75


class Skipped(Exception):
    """A fault that cannot be injected here, with the reason."""


class Trial:
    """What a fault may do; `fault(trial)` returns what it did, for the verdict line."""

    def __init__(self, cluster, seed):
        self.cluster, self.random = cluster, random.Random(seed)
        self.names = cluster.names()
        # How many requests of each load may fail: one for each connection that a fault itself breaks.
        self.failures_max = 0
        # Whether every replica keeps its process and its way to Redis.
        self.undisturbed = True

    def any_replica(self):
        return self.random.choice(self.names)

    def serves_again(self):
        clusters.wait_until_serving(len(self.names))

    @staticmethod
    def wait(seconds):
        """How long a fault lasts."""
        time.sleep(seconds)

    @contextlib.contextmanager
    def healed_by(self, heal):
        """Heals however the fault ends, also one that was broken off before it began."""
        try:
            yield
        finally:
            with common.Signals.wait():
                heal()

    def start_anew(self, replica):
        """Whatever became of a replica: one that is on its way out is waited for."""
        self.cluster.stop(replica)
        self.cluster.start(replica)


class Running:
    """The loads while a fault is on."""

    def __init__(self):
        address = ["127.0.0.1", str(common.entry_port())]
        script = Path(__file__).with_name("load.py")
        self.processes = {
            api: subprocess.Popen(
                [sys.executable, script, *address, f"/{api}/", str(CONNECTIONS[api]), str(RATES[api])],
                # They end with their input, and so with this process, however it ends; Ctrl-C is for this process alone.
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
            )
            for api in RATES
        }

    def reports(self):
        for process in self.processes.values():
            process.stdin.close()
        return {api: json.loads(process.stdout.read()) for api, process in self.processes.items()}

    def kill(self):
        for process in self.processes.values():
            process.kill()
            process.wait()


def judge(trial, reports, windows, healed_at):
    """Figures, and what is wrong with them."""
    figures, wrong = windows.verdict(reports["limited"], trial.undisturbed)
    for api, report in reports.items():
        statuses, failed = report["statuses"], sum(report["failures"].values())
        requests = sum(statuses.values()) + failed
        figures.append(f"{api}: {requests} requests, {failed} failed, p99 {report['ms']['p99']:.0f} ms")
        unexpected = {status for status in statuses if status not in ("200", *(["429"] if api == "limited" else []))}
        if unexpected:
            wrong.append(f"{api}: answers {', '.join(f'{statuses[status]} x {status}' for status in sorted(unexpected))}")
        if failed > trial.failures_max:
            wrong.append(f"{api}: {failed} failed, {trial.failures_max} may ({'; '.join(report['told'])})")
        if not any(moment > healed_at for moment in report["admitted"]):
            wrong.append(f"{api}: nothing admitted after the fault")
    return figures, wrong


def run(usage, fault):
    """The whole script of one fault. Ends with 0 (ok), 1 (failed) or SKIPPED, and with another code when the fault itself went wrong."""
    parser = argparse.ArgumentParser(usage=usage.partition("Usage: ")[2].partition("\n")[0], add_help=False)
    parser.add_argument("--local", action="store_true")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    options = clusters.parse(parser, usage)
    name = Path(sys.argv[0]).name
    common.Signals.end_the_script()

    cluster = clusters.running(options.local)
    trial = Trial(cluster, options.seed)
    trial.serves_again()
    windows, loads = Windows(cluster), Running()
    try:
        trial.wait(BEFORE_S)
        done = fault(trial)
        trial.serves_again()
        healed_at = time.time()
        trial.wait(AFTER_S)
        figures, wrong = judge(trial, loads.reports(), windows, healed_at)
    except Skipped as reason:
        print(f"skipped {name}: {reason}", flush=True)
        sys.exit(SKIPPED)
    except SystemExit as ended:
        print(f"FAILED {name}: it did not come to its end (--seed {options.seed})", flush=True)
        raise ended
    finally:
        loads.kill()
        windows.end()
    said = f"{name}: {done}; {'; '.join(figures)}"
    if wrong:
        print(f"FAILED {said}\n  {'; '.join(wrong)} (--seed {options.seed})", flush=True)
        sys.exit(1)
    print(f"ok {said}", flush=True)
