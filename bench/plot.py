"""The pictures of the benchmark of checks. The only module that needs matplotlib, which the extra `bench` installs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OURS, OTHERS = "#1f6f54", "#9aa5b1"  # bars
MARKS = "osD^v"
PIXELS_AN_INCH = 150


def draw_checks(
    path: Path,
    rates: Mapping[str, float],
    latencies: Mapping[str, Sequence[float]],
    percents: Sequence[float],
    ours: int,
) -> str:
    """Writes path.png and path.svg: what each subject answers at most, and the percentiles of its latency. The first
    `ours` subjects are ours. Returns why not, if it cannot."""
    try:
        from matplotlib import use
        from matplotlib.figure import Figure
    except ImportError:
        return "There is no picture: matplotlib is missing (pip install 'policy-service[bench]')."
    use("agg")
    figure = Figure(figsize=(11, 0.5 * len(rates) + 2.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_rates(left, rates, ours)
    _draw_latencies(right, latencies, percents, ours)
    left.invert_yaxis()  # the first on top
    for kind in ("png", "svg"):
        figure.savefig(path.with_suffix(f".{kind}"), dpi=PIXELS_AN_INCH)
    return ""


def _draw_rates(axes: Axes, rates: Mapping[str, float], ours: int) -> None:
    bars = axes.barh(list(rates), list(rates.values()), color=_colours(len(rates), ours))
    axes.bar_label(bars, [f"{rate:,.0f}" for rate in rates.values()], padding=4)
    axes.set(title="Checks a second, at most (longer is better)", xlim=(0, 1.18 * max(rates.values())))
    _tidy(axes)


def _draw_latencies(axes: Axes, latencies: Mapping[str, Sequence[float]], percents: Sequence[float], ours: int) -> None:
    rows, colours = range(len(latencies)), _colours(len(latencies), ours)
    for row, values, colour in zip(rows, latencies.values(), colours, strict=True):
        axes.plot([values[0], values[-1]], [row, row], color=colour, linewidth=2, zorder=1)
    for at, percent in enumerate(percents):
        values = [found[at] for found in latencies.values()]
        axes.scatter(values, rows, marker=MARKS[at], color=colours, edgecolors="white", s=64, zorder=2)
        axes.scatter([], [], marker=MARKS[at], color="#444444", label=f"p{percent:g}")
    axes.set(title="Latency in ms at half of that (further left is better)", xscale="log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=len(percents), frameon=False)
    _tidy(axes)


def _colours(count: int, ours: int) -> list[str]:
    return [OURS] * ours + [OTHERS] * (count - ours)


def _tidy(axes: Axes) -> None:
    """No frame, a light grid."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e4e7eb", zorder=0)
    axes.set_axisbelow(True)
