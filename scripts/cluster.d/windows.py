"""Whether the limit of config/cluster/apis/limited.yaml held: this file alone decides that.

Exact by what replicas say of each window in `/status`, where they say it. Clients cannot see windows; what they can see is
that no ten seconds, which touch at most two windows, hold more than twice the limit. That is checked as well.
"""

import threading
import time
from collections import defaultdict

from common import ask_json

LIMIT = 1000
WINDOW_S = 10
# Of a window with demand from its begin to its end, unless a replica took tokens with it.
FULL_WINDOW_MIN = 990
SAMPLE_S = 0.2


class Windows:
    """Watches every replica while a fault is on, since one that is killed takes its count with it."""

    def __init__(self, cluster):
        self.cluster = cluster
        # (window, replica, life) -> the highest count seen
        self.admitted = defaultdict(int)
        self.life = defaultdict(lambda: (0, 0))
        self.told = False
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self):
        addresses, looked = {}, 0
        while not self.ended.is_set():
            # A container that was started anew has another port.
            if time.monotonic() - looked > 1:
                addresses, looked = {name: self.cluster.admin(name) for name in self.cluster.names()}, time.monotonic()
            for name, address in addresses.items():
                if address and (status := ask_json(address, "/status")):
                    self._note(name, status)
            self.ended.wait(SAMPLE_S)

    def _note(self, name, status):
        number, uptime = self.life[name]
        now_up = status["uptimeSeconds"]
        self.life[name] = (number + (now_up < uptime), now_up)
        for limit in status.get("limits", []):
            # Without a window: counted while the storage was away.
            if "limited" in limit["policy"] and limit["window"] is not None:
                self.told = True
                place = (limit["window"], limit["key"], limit["limit"], name, self.life[name][0])
                self.admitted[place] = max(self.admitted[place], limit["admitted"])

    def end(self):
        self.ended.set()
        self.thread.join()

    def verdict(self, load, undisturbed):
        """Figures for the verdict line, and what is wrong. `undisturbed`: no replica was killed or cut off."""
        figures, wrong = [], []
        seen = most_in_any(load["admitted"], WINDOW_S)
        figures.append(f"at most {seen} admitted in any {WINDOW_S} s")
        if seen > 2 * LIMIT:
            wrong.append(f"{seen} admitted within {WINDOW_S} s, two windows allow {2 * LIMIT}")
        if not self.told:
            figures.append("windows not told by /status")
            return figures, wrong
        totals = defaultdict(int)
        for (window, key, limit, *_), admitted in self.admitted.items():
            totals[window, key, limit] += admitted
        inside = [
            total for (window, *_), total in totals.items()
            if load["began"] + 1 < window / 1000 and window / 1000 + WINDOW_S < load["ended"] - 1
        ]
        figures.append(f"windows {' '.join(str(total) for _, total in sorted(totals.items()))}")
        if max(totals.values()) > LIMIT:
            wrong.append(f"a window admitted {max(totals.values())} of {LIMIT}")
        if undisturbed and inside and min(inside) < FULL_WINDOW_MIN:
            wrong.append(f"a window with demand admitted only {min(inside)}")
        return figures, wrong


def most_in_any(moments, seconds):
    """The most of these sorted moments that lie within so many seconds."""
    most, first = 0, 0
    for last, moment in enumerate(moments):
        while moment - moments[first] >= seconds:
            first += 1
        most = max(most, last - first + 1)
    return most
