"""Medians, spreads and ratios of a run, and the tables that show them."""

import statistics

import memory
from loads import CONNECTIONS, LOADS, Target

DECISIVE_ROUNDS = 5


def spread(values):
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def spreads(rounds):
    return {figure: spread([round_[figure] for round_ in rounds]) for figure in rounds[0]}


def of_load(results):
    """Figures of each proxy, and Portcullis's CPU per request over that of each other, taken inside each round."""
    by_label = {label: spreads(rounds) for label, rounds in results.items()}
    ours = results.get("portcullis")
    for label, rounds in results.items():
        if ours and label != "portcullis":
            ratios = [mine["cpu_us_per_request"] / theirs["cpu_us_per_request"] for mine, theirs in zip(ours, rounds)]
            by_label["portcullis"].setdefault("cpu_ratio_to", {})[label] = spread(ratios)
    return by_label


def ranged(figure, digits):
    return f"{figure['median']:.{digits}f} [{figure['min']:.{digits}f}, {figure['max']:.{digits}f}]"


def print_head(box, options):
    versions = "".join(f", {name} {version}" for name, version in box["versions"].items())
    network = "" if box["own_network"] else ", in the network of this machine"
    print(f"\n{box['cpu']}, {box['cores']} cores, Linux {box['kernel']}{versions}{network}")
    print(f"{options.rounds} rounds of {options.seconds:g} s, {CONNECTIONS} connections where nothing else is said; median [least, most]")


def print_load(name, by_label):
    print(f"\n{name}: {LOADS[name].what}")
    print(f"  {'':<11}{'CPU us/request':>24}{'requests/s':>12}{'p50 us':>9}{'p99 us':>9}{'RSS MiB':>9}  portcullis / it")
    ratios = by_label.get("portcullis", {}).get("cpu_ratio_to", {})
    for label, figures in by_label.items():
        middle = lambda figure: figures[figure]["median"]
        print(
            f"  {label:<11}{ranged(figures['cpu_us_per_request'], 1):>24}{middle('requests_per_second'):>12.0f}"
            f"{middle('p50_us'):>9.0f}{middle('p99_us'):>9.0f}{middle('rss_mib'):>9.1f}"
            + (f"  {ranged(ratios[label], 2)}" if label in ratios else "")
        )


def print_idle(load, by_name):
    print(f"\n{load}: {memory.IDLE_WHAT[load]}")
    print(f"  {'':<11}{'KiB each':>24}{'before MiB':>12}{'held MiB':>10}{'closed MiB':>12}")
    for name, figures in by_name.items():
        middle = lambda figure: figures[figure]["median"]
        print(
            f"  {name:<11}{ranged(figures['kib_each'], 2):>24}{middle('rss_before_mib'):>12.1f}"
            f"{middle('rss_held_mib'):>10.1f}{middle('rss_closed_mib'):>12.1f}"
        )


def print_demo(figures):
    print(f"\ndemo: {memory.DEMO_WHAT}")
    print(f"  ready after {ranged(figures['ready_ms'], 0)} ms; RSS after the load {ranged(figures['rss_mib'], 1)} MiB")


def targets(report):
    """Rows of what was to be reached: (what, at most, stretch, figure or None, digits)."""
    rows = []
    for name, load in LOADS.items():
        ratios = report["loads"].get(name, {}).get("portcullis", {}).get("cpu_ratio_to", {})
        for label, target in load.targets.items():
            rows.append((f"{name}: CPU / {label}", target, ratios.get(label), 2))
    idle = report["idle"].get("idle-10k", {}).get("portcullis", {})
    rows.append(("idle-10k: KiB each", Target(memory.IDLE_KIB_MOST), idle.get("kib_each"), 1))
    rows.append(("demo: RSS MiB after load", Target(memory.DEMO_RSS_MIB_MOST), report["demo"].get("rss_mib"), 1))
    rows.append(("demo: ms to ready", Target(memory.DEMO_READY_MS_MOST), report["demo"].get("ready_ms"), 0))
    return rows


def print_targets(report):
    few = "" if report["rounds"] >= DECISIVE_ROUNDS else f"; fewer than {DECISIVE_ROUNDS} rounds decide nothing"
    print(f"\ntargets, by the median of the rounds{few}")
    for what, target, figure, digits in targets(report):
        verdict = "not measured" if figure is None else f"{ranged(figure, digits):<22}{judged(figure['median'], target)}"
        print(f"  {what:<28}at most {target.most:<7.{digits}f}{verdict}")
    for name, reason in report["skipped"].items():
        print(f"  skipped: {name}: {reason}")


def judged(median, target):
    if median > target.most:
        return "MISS"
    if target.stretch is None:
        return "pass"
    return f"pass, stretch {target.stretch:g} {'too' if median <= target.stretch else 'not'}"
