"""A figure per claim, drawn from `docs/performance/*.json`: `python -m bench figures`."""

import json
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import matplotlib as mpl

mpl.use("svg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from bench.process import TOGETHER
from bench.results import PUBLISHED, Json

OURS, BARE, AIM = "#2a6f97", "#b8c4cc", "#c1121f"
_WIDTH = 0.38


def draw_all() -> None:
    """Every result that has been published gets its figure beside it."""
    # The same input gives the same file, and text stays text.
    mpl.rcParams |= {"svg.hashsalt": "throughline", "svg.fonttype": "none", "axes.spines.top": False}
    mpl.rcParams |= {"axes.spines.right": False, "font.size": 9}
    for name, draw in FIGURES.items():
        source = PUBLISHED / f"{name}.json"
        if source.exists():
            found = json.loads(source.read_text())
            figure = draw(found)
            figure.supxlabel(_conditions(found), x=0.99, ha="right", fontsize=6, color="grey")
            figure.savefig(source.with_suffix(".svg"), metadata={"Date": None})
            plt.close(figure)
            print(f"Drawn: {name}.svg")


def _conditions(found: Json) -> str:
    quiet = "" if found.get("quiet") else ", machine shared with other work: provisional"
    return f"{found['at'][:10]}, {found['processors']} processors, {found['memory_gb']} GB{quiet}"


def _new(width: float, height: float, columns: int = 1) -> tuple[Figure, Sequence[Axes]]:
    figure, axes = plt.subplots(1, columns, figsize=(width, height), layout="constrained", squeeze=False)
    return figure, list(axes[0])


def _pairs(axes: Axes, labels: Sequence[str], bare: Sequence[float], ours: Sequence[float]) -> None:
    """Two bars at each label."""
    for place, values, name, colour in ((-_WIDTH / 2, bare, "bare", BARE), (_WIDTH / 2, ours, "ours", OURS)):
        bars = axes.bar([number + place for number in range(len(labels))], values, _WIDTH, label=name, color=colour)
        axes.bar_label(bars, fmt="{:,.3g}", fontsize=7)
    axes.set_xticks(range(len(labels)), labels)
    axes.legend(frameon=False, fontsize=8)


def _spans(axes: Axes, spans: Mapping[str, Json], aim: int) -> None:
    """From the median to the p99 of each."""
    for number, (label, each) in enumerate(spans.items()):
        axes.plot(
            [number, number],
            [each["p50_ms"], each["p99_ms"]],
            lw=8,
            solid_capstyle="butt",
            color=BARE if label.startswith("bare") else OURS,
        )
        for value in (each["p50_ms"], each["p99_ms"]):
            axes.annotate(f"{value:.1f}", (number + 0.1, value), fontsize=7, va="center")
    axes.axhline(aim, color=AIM, lw=1, ls="--")
    axes.annotate(f"aim: p99 within {aim} ms", (-0.4, aim), fontsize=7, color=AIM, va="bottom")
    axes.set_xticks(range(len(spans)), list(spans))
    axes.tick_params(axis="x", labelsize=7)
    axes.set_xlim(-0.5, len(spans) - 0.3)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("ms, p50 to p99")


def _latency(found: Json) -> Figure:
    figure, places = _new(8, 3.2, 2)
    claims = (
        ("commit_to_consumer", "commit to a consumer of orders.events", 25),
        ("channel_to_paid", "channel event to paid over HTTP", 60),
    )
    for axes, (name, title, aim) in zip(places, claims, strict=True):
        half, quarter = found[name]
        spans = {"bare ping": half["bare_ping"], "bare insert": half["bare_insert"]}
        _spans(axes, spans | {"half": half[name], "quarter": quarter[name]}, aim)
        axes.set_title(f"{title}\nat {half['rate_per_s']:,} and {quarter['rate_per_s']:,}/s", fontsize=9)
    return figure


def _event_latency(found: Json) -> Figure:
    figure, places = _new(9, 3.2, 2)
    half, quarter = found["told"]
    claims = (("topic", "to an app's topic", 25), ("webhook", "to a webhook's receiver", 100))
    for axes, (name, title, aim) in zip(places, claims, strict=True):
        spans = {"bare ping": half["bare_ping"], "bare insert": half["bare_insert"]}
        for commit in ("order", "event"):
            for share, each in (("half", half), ("quarter", quarter)):
                spans[f"{commit},\n{share}"] = each[f"{commit}_to_{name}"]
        _spans(axes, spans, aim)
        axes.set_title(f"commit {title}\nat {half['rate_per_s']:,} and {quarter['rate_per_s']:,}/s", fontsize=9)
    return figure


def _lifecycle(found: Json) -> Figure:
    figure, (lives, cost) = _new(9, 3.2, 2)
    ways = [(name, at_once) for name in ("separate", "together") for at_once in found[name]]
    labels = [f"{'a process each' if name == 'separate' else 'all in one'},\n{many} at once" for name, many in ways]
    medians = [sorted(found[name][many]["lives"], key=itemgetter("per_second")) for name, many in ways]
    middle = [turns[len(turns) // 2] for turns in medians]
    bars = lives.bar(labels, [one["per_second"] for one in middle], 0.6, color=OURS)
    ratios = [
        f"{one['per_second']:.0f} ({found[name][many]['of_bare']:.0%} of bare)"
        for one, (name, many) in zip(middle, ways, strict=True)
    ]
    lives.bar_label(bars, ratios, fontsize=7)
    lives.set_ylabel("lives per second")
    parts = list(dict.fromkeys(part for one in middle for part in one["cpu_us"]))
    bottom = [0.0] * len(ways)
    for part in parts:
        values = [one["cpu_us"].get(part, 0) / 1_000 for one in middle]
        cost.bar(labels, values, 0.6, bottom=bottom, label=part if part != TOGETHER else "services")
        bottom = [under + value for under, value in zip(bottom, values, strict=True)]
    cost.set_ylabel("ms of processor time per life")
    cost.legend(frameon=False, fontsize=7)
    for axes in (lives, cost):
        axes.tick_params(axis="x", labelsize=7)
    return figure


def _http(found: Json) -> Figure:
    figure, places = _new(8, 3.2, 2)
    for axes, processes in zip(places, (1, 2), strict=True):
        one = found[f"processes_{processes}"]
        labels = ["creates", "reads", "creates, a transaction each"]
        bare = [one["bare"]["creates"], one["bare"]["reads"], one["bare"]["creates"]]
        ours = [one["orders"]["creates"], one["orders"]["reads"], one["one transaction each"]["creates"]]
        _pairs(axes, labels, [each["per_second"] for each in bare], [each["per_second"] for each in ours])
        axes.tick_params(axis="x", labelsize=7)
        axes.set_ylabel("per second")
        lifecycles = one["lifecycles"]["per_second"]
        axes.set_title(f"{processes} process(es); {lifecycles:,.0f} orders/s made and paid by a channel", fontsize=8)
    return figure


def _growth(found: Json) -> Figure:
    figure, (kept, reads) = _new(9, 4.2, 2)
    sizes = [f"{step['orders'] / 1e6:g} M" for step in found["steps"]]
    for name, colour in (("new orders", OURS), ("any orders", "#61a5c2")):
        kept.plot(sizes, [step["throughput_kept"][name] for step in found["steps"]], "o-", color=colour, label=name)
    kept.axhline(0.9, color=AIM, lw=1, ls="--")
    kept.set_ylim(0, 1.3)
    kept.set_ylabel(f"commands/s, of those at {found['small']:,} orders")
    kept.set_xlabel("orders")
    kept.legend(frameon=False)
    kept.set_title("commands per second as orders pile up", fontsize=9)
    last = found["steps"][-1]
    names = list(last["reads_slower"])
    for place, side, colour in ((-0.2, "small", BARE), (0.2, "large", OURS)):
        label = f"{found['small']:,}" if side == "small" else f"{last['orders']:,}"
        values = [last[side]["reads"][name]["p99_ms"] for name in names]
        reads.barh([number + place for number in range(len(names))], values, 0.4, color=colour, label=f"{label} orders")
    reads.set_yticks(range(len(names)), names, fontsize=6)
    reads.invert_yaxis()
    reads.set_xscale("log")
    reads.xaxis.set_minor_formatter(NullFormatter())
    reads.set_xlabel("p99, ms")
    reads.legend(frameon=False, fontsize=7)
    reads.set_title("reads", fontsize=9)
    return figure


def _soak(found: Json) -> Figure:
    figure, places = _new(9, 3, 3)
    minutes = [sample["at_s"] / 60 for sample in found["samples"]]
    for axes, name, title in zip(
        places,
        ("resident_mb", "lag", "outbox"),
        ("resident memory, MB", "messages not yet processed", "rows in the outbox"),
        strict=True,
    ):
        for service, colour in (("orders", OURS), ("payments", "#e09f3e")):
            axes.plot(minutes, [sample[service][name] for sample in found["samples"]], color=colour, label=service)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("minutes")
        axes.set_title(title, fontsize=9)
    places[0].legend(frameon=False)
    return figure


def _throughput(found: Json) -> Figure:
    figure, (axes,) = _new(6, 3)
    batches = sorted({one["batch"] for one in found["medians"]})
    names = list(dict.fromkeys(one["contender"] for one in found["medians"]))
    for number, name in enumerate(names):
        rates = [
            next(one["per_second"] for one in found["medians"] if (one["contender"], one["batch"]) == (name, batch))
            for batch in batches
        ]
        places = [place + (number - 1) * 0.27 for place in range(len(batches))]
        bars = axes.bar(places, rates, 0.27, label=name, color=(BARE, "#8d99ae", OURS)[number])
        axes.bar_label(bars, fmt="{:,.0f}", fontsize=7)
    axes.set_xticks(range(len(batches)), [f"batch {batch}" for batch in batches])
    axes.set_ylabel("commands per second")
    axes.legend(frameon=False, fontsize=7)
    return figure


def _fan_out(found: Json) -> Figure:
    figure, (axes,) = _new(6, 3)
    sizes = {name.removeprefix("apps_"): each["medians"] for name, each in found.items() if name.startswith("apps_")}
    contenders = (("bare_send", "bare, one by one", BARE), ("bare_batches", "bare, in batches", "#8d99ae"))
    for number, (name, label, colour) in enumerate((*contenders, ("service", "fan-out", OURS))):
        places = [place + (number - 1) * 0.27 for place in range(len(sizes))]
        bars = axes.bar(places, [one[name]["per_s"] for one in sizes.values()], 0.27, label=label, color=colour)
        axes.bar_label(bars, fmt="{:,.0f}", fontsize=7)
    axes.set_xticks(range(len(sizes)), [f"{size} app(s) at a merchant" for size in sizes])
    axes.set_ylabel("messages per second")
    axes.legend(frameon=False, fontsize=7)
    return figure


def _webhooks(found: Json) -> Figure:
    figure, (rates, delays) = _new(8, 3, 2)
    rounds = found["rounds"]
    labels = [f"round {number}" for number in range(1, len(rounds) + 1)]
    _pairs(rates, labels, [one["bare_per_s"] for one in rounds], [one["webhooks_per_s"] for one in rounds])
    rates.set_ylabel("requests per second")
    rates.set_title(f"webhooks have {found['medians']['of_bare']:.0%} of the bare loop", fontsize=9)
    turns = found["delay_turns"]
    for name, label, colour in (("alone", "alone", BARE), ("beside_dead", "beside a dead endpoint", OURS)):
        for what, style in (("p50_ms", "o--"), ("p99_ms", "o-")):
            values = [one[name][what] for one in turns]
            delays.plot(range(1, len(turns) + 1), values, style, color=colour, label=f"{label}, {what[:3]}")
    delays.set_ylim(bottom=0)
    delays.set_xlabel("turn")
    delays.set_ylabel("ms from commit to receiver")
    delays.set_title(f"100 lively endpoints at {found['pace_per_s']:,}/s", fontsize=9)
    delays.legend(frameon=False, fontsize=7)
    return figure


FIGURES: dict[str, Callable[[Any], Figure]] = {
    "throughput": _throughput,
    "latency": _latency,
    "event_latency": _event_latency,
    "lifecycle": _lifecycle,
    "http": _http,
    "growth": _growth,
    "soak": _soak,
    "fan_out": _fan_out,
    "webhooks": _webhooks,
}
