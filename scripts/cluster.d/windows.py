"""Whether the limit of config/cluster/apis/limited.yaml held: this file alone decides that.

By what replicas say of each window in `/status`, and by what clients can see, who know of no windows: ten seconds touch at
most two of them, and hold at most twice the limit.
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
        self.broken = None
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self):
        # A watcher that died would see no window, and find nothing wrong.
        try:
            self._look()
        except (Exception, SystemExit) as error:
            self.broken = error

    def _look(self):
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
        now_up = status["gateway"]["uptimeSeconds"]
        self.life[name] = (number + (now_up < uptime), now_up)
        for limit in status.get("limits", []):
            # Without a window: counted while the storage was away.
            if "limited" in limit["policy"] and limit["window"] is not None:
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
        if self.broken:
            wrong.append(f"the windows were not watched to the end: {self.broken!r}")
        totals = defaultdict(int)
        for (window, key, limit, *_), admitted in self.admitted.items():
            # Not those of before: a replica that has gone since tells no more of them.
            if window / 1000 + WINDOW_S > load["began"]:
                totals[window, key, limit] += admitted
        if not totals:
            return figures, [*wrong, "no replica told of a window"]
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
