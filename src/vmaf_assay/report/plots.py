"""Pictures as inline SVG: sharp at any size, coloured by the page's own theme, each point with a tooltip.

Hand-made instead of matplotlib (ADR-0395): a chart is 5 to 100 kB and follows light and dark themes without a
second copy. Its points can be hovered, stepped through with the arrow keys, and read out. Every text passes
through `markupsafe`, so that a hostile name stays a name.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from markupsafe import Markup, escape

WIDTH, HEIGHT = 680, 330
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 16, 34, 50
MARKS = 6
"""Marker shapes and colours before they repeat; two series never differ by colour alone."""
Scale = Literal["linear", "log"]


@dataclass(frozen=True, slots=True)
class Point:
    """One value in a chart, with its tooltip."""

    x: float
    y: float
    tip: str
    """Shown on hover and read out; holds the numbers."""


@dataclass(slots=True)
class Axis:
    """One axis: its label, and the range it must show."""

    label: str
    """Label, with the unit."""
    values: list[float] = field(default_factory=list)
    """Values that the axis must show."""
    scale: Scale = "linear"
    """`log` for rates of bits."""
    low: float | None = None
    """Fixed lower end."""
    high: float | None = None
    """Fixed upper end."""

    def ends(self) -> tuple[float, float]:
        """Lower and upper end; never equal."""
        finite = [v for v in self.values if math.isfinite(v) and (self.scale == "linear" or v > 0)] or [1.0]
        low, high = min(finite), max(finite)
        if self.scale == "log":
            return low / 1.1, high * 1.1
        pad = (high - low) * 0.05 or 0.5
        return (
            low - pad if self.low is None else min(self.low, low),
            high + pad if self.high is None else max(self.high, high),
        )


def ticks(low: float, high: float, *, scale: Scale = "linear", count: int = 6) -> list[float]:
    """Round numbers between two ends.

    >>> ticks(0, 10)
    [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    >>> ticks(90, 1100, scale="log")
    [100.0, 200.0, 500.0, 1000.0]
    """
    if scale == "log":
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        steps = [float(m) * 10.0**p for p in powers for m in (1, 2, 5)]
        return [step for step in steps if low <= step <= high]
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 10) for i in range(first, math.floor(high / step + 1e-9) + 1)]


class Chart:
    """A chart being drawn, from back to front."""

    def __init__(self, name: str, title: str, description: str, x: Axis, y: Axis, *, height: int = HEIGHT) -> None:
        self.name, self.title, self.description = name, title, description
        self._x, self._y, self._height = x, y, height
        self._body: list[Markup] = []
        self._legend: list[tuple[str, int, str]] = []

    def _px(self, value: float) -> float:
        return _LEFT + self._share(self._x, value) * (WIDTH - _LEFT - _RIGHT)

    def _py(self, value: float) -> float:
        return self._height - _BOTTOM - self._share(self._y, value) * (self._height - _TOP - _BOTTOM)

    @staticmethod
    def _share(axis: Axis, value: float) -> float:
        low, high = axis.ends()
        if axis.scale == "log":
            low, high, value = math.log(low), math.log(high), math.log(max(value, 1e-9))
        return (value - low) / (high - low)

    def _path(self, xs: Sequence[float], ys: Sequence[float]) -> str:
        return " ".join(f"{self._px(x):.1f},{self._py(y):.1f}" for x, y in zip(xs, ys, strict=True))

    def band(self, xs: Sequence[float], low: Sequence[float], high: Sequence[float], *, series: int = 0) -> None:
        """The area between two curves."""
        ring = f"{self._path(xs, high)} {self._path(list(reversed(xs)), list(reversed(low)))}"
        self._body.append(Markup('<polygon class="band s{}" points="{}"/>').format(series % MARKS, ring))

    def line(
        self, xs: Sequence[float], ys: Sequence[float], *, series: int = 0, name: str = "", dashed: bool = False
    ) -> None:
        """A curve; named ones are in the legend."""
        dash = " dashed" if dashed else ""
        self._body.append(
            Markup('<polyline class="line s{}{}" data-series="{}" points="{}"/>').format(
                series % MARKS, dash, name, self._path(xs, ys)
            )
        )
        self._note(name, series, "dash" if dashed else "line")

    def points(self, points: Sequence[Point], *, series: int = 0, name: str = "", large: bool = False) -> None:
        """Marks, each with its tooltip."""
        size = 6.0 if large else 3.6
        shape = [
            Markup('<path class="pt s{}" data-series="{}" data-tip="{}" d="{}"/>').format(
                series % MARKS, name, point.tip, _mark(series, self._px(point.x), self._py(point.y), size)
            )
            for point in points
        ]
        self._body += shape
        self._note(name, series, "mark")

    def bars(
        self, edges: Sequence[float], heights: Sequence[float], tips: Sequence[str], *, series: int = 0
    ) -> None:
        """A histogram: N heights between N + 1 edges, each with its tooltip; nothing where a height is 0."""
        ground = self._py(self._y.ends()[0])
        for left, right, height, tip in zip(edges, edges[1:], heights, tips, strict=False):
            x, y = self._px(left), self._py(height)
            if height > 0:
                wide, mark = self._px(right) - x, '<path class="pt s{}" data-series="" data-tip="{}" d="{}"/>'
                path = f"M{x:.1f},{y:.1f}h{wide:.1f}v{ground - y:.1f}h{-wide:.1f}z"
                self._body.append(Markup(mark).format(series % MARKS, tip, path))

    def rule(
        self, *, x: float | None = None, y: float | None = None, label: str = "", below: bool = False
    ) -> None:
        """A line across the chart at one value, with a label above or below it."""
        low_x, high_x = self._x.ends()
        low_y, high_y = self._y.ends()
        x1, x2 = (low_x, high_x) if x is None else (x, x)
        y1, y2 = (y, y) if y is not None else (low_y, high_y)
        at = (
            (self._px(x2) - 6, self._py(y2) + (16 if below else -5))
            if y is not None
            else (self._px(x1) + 6, _TOP + 12)
        )
        anchor = "end" if y is not None or self._px(x1) > WIDTH - 160 else "start"
        if x is not None and anchor == "end":
            at = (self._px(x1) - 6, _TOP + 12)
        self._body.append(
            Markup(
                '<line class="rule" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>'
                '<text class="rule-label" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>'
            ).format(self._px(x1), self._py(y1), self._px(x2), self._py(y2), *at, anchor, label)
        )

    def diagonal(self) -> None:
        """The diagonal x = y."""
        low = max(self._x.ends()[0], self._y.ends()[0])
        high = min(self._x.ends()[1], self._y.ends()[1])
        self._body.append(
            Markup('<polyline class="rule" points="{}"/>').format(self._path([low, high], [low, high]))
        )

    def _note(self, name: str, series: int, kind: str) -> None:
        if name and name not in (known for known, _, _ in self._legend):
            self._legend.append((name, series, kind))

    def svg(self) -> Markup:
        """The finished picture, with its legend where there is more than one series."""
        body = Markup("").join([*self._grid(), *self._body])
        picture = Markup(
            '<svg viewBox="0 0 {} {}" role="img" tabindex="0" aria-labelledby="{}-t {}-d" class="chart">'
            '<title id="{}-t">{}</title><desc id="{}-d">{}</desc>{}</svg>'
        ).format(
            WIDTH, self._height, self.name, self.name, self.name, self.title, self.name, self.description, body
        )
        return picture + self._legend_html()

    def _legend_html(self) -> Markup:
        if len(self._legend) < 2:
            return Markup("")
        items = Markup("").join(
            Markup(
                '<li><button type="button" class="series" aria-pressed="true" data-for="{}">'
                '<svg viewBox="0 0 26 14" aria-hidden="true">{}</svg>{}</button></li>'
            ).format(name, _sample(kind, series), name)
            for name, series, kind in self._legend
        )
        return Markup('<ul class="legend" aria-label="Series; press to hide or show">{}</ul>').format(items)

    def _grid(self) -> list[Markup]:
        made = []
        bottom, right = self._height - _BOTTOM, WIDTH - _RIGHT
        for tick in ticks(*self._y.ends(), scale=self._y.scale, count=5):
            y = self._py(tick)
            made.append(
                Markup(
                    '<line class="grid" x1="{}" y1="{:.1f}" x2="{}" y2="{:.1f}"/>'
                    '<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>'
                ).format(_LEFT, y, right, y, _LEFT - 8, y + 4, f"{tick:g}")
            )
        for tick in ticks(*self._x.ends(), scale=self._x.scale, count=8):
            x = self._px(tick)
            made.append(
                Markup(
                    '<line class="grid" x1="{:.1f}" y1="{}" x2="{:.1f}" y2="{}"/>'
                    '<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{}</text>'
                ).format(x, _TOP, x, bottom, x, bottom + 18, f"{tick:g}")
            )
        made.append(
            Markup(
                '<text class="axis" x="{}" y="{}" text-anchor="end">{}</text>'
                '<text class="axis" x="4" y="18">{}</text>'
            ).format(right, self._height - 8, self._x.label, self._y.label)
        )
        return made


def _sample(kind: str, series: int) -> Markup:
    """What a legend entry looks like."""
    at = series % MARKS
    if kind == "mark":
        return Markup('<path class="pt s{}" d="{}"/>').format(at, _mark(series, 13, 7, 5))
    dash = " dashed" if kind == "dash" else ""
    return Markup('<polyline class="line s{}{}" points="1,7 25,7"/>').format(at, dash)


def _mark(series: int, x: float, y: float, size: float) -> str:
    """A path: circle, square, triangle, diamond, cross, bar."""
    s = size
    shapes = (
        f"M{x - s:.1f},{y:.1f}a{s},{s} 0 1,0 {2 * s},0a{s},{s} 0 1,0 {-2 * s},0z",
        f"M{x - s:.1f},{y - s:.1f}h{2 * s}v{2 * s}h{-2 * s}z",
        f"M{x:.1f},{y - 1.2 * s:.1f}l{1.2 * s:.1f},{2 * s:.1f}h{-2.4 * s:.1f}z",
        f"M{x:.1f},{y - 1.3 * s:.1f}l{1.3 * s:.1f},{1.3 * s:.1f}l{-1.3 * s:.1f},{1.3 * s:.1f}"
        f"l{-1.3 * s:.1f},{-1.3 * s:.1f}z",
        f"M{x - s:.1f},{y - s / 3:.1f}h{0.67 * s:.1f}v{-0.67 * s:.1f}h{0.67 * s:.1f}v{0.67 * s:.1f}h{0.67 * s:.1f}"
        f"v{0.67 * s:.1f}h{-0.67 * s:.1f}v{0.67 * s:.1f}h{-0.67 * s:.1f}v{-0.67 * s:.1f}h{-0.67 * s:.1f}z",
        f"M{x - s:.1f},{y - s / 2.5:.1f}h{2 * s}v{0.8 * s:.1f}h{-2 * s}z",
    )
    return shapes[series % MARKS]


def text(value: object) -> Markup:
    """Any value, escaped for a page."""
    return escape(str(value))
