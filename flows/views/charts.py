"""The report's charts as SVG: small, sharp, no script."""

from __future__ import annotations

import colorsys
from collections import Counter
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from markupsafe import Markup, escape

_WIDTH, _HEIGHT, _MARGIN = 640, 320, 40
_TICKS = (0.25, 0.5, 0.75, 0.95, 1.0)
_LEGEND = 40


def spectrum(cumulative: npt.NDArray[np.float64], components: int) -> Markup:
    """Share of the variance that the first n components explain, with marks at `components` and at 95 %."""
    total = len(cumulative)
    across, up = _WIDTH - 2 * _MARGIN, _HEIGHT - 2 * _MARGIN

    def point(number: int, share: float) -> tuple[float, float]:
        # A logarithmic axis: the first components explain most.
        return _MARGIN + across * np.log(number) / np.log(max(2, total)), _HEIGHT - _MARGIN - up * share

    shapes = []
    for share in _TICKS:
        _, y = point(1, share)
        shapes.append(f'<line class="grid" x1="{_MARGIN}" x2="{_WIDTH - _MARGIN}" y1="{y:.1f}" y2="{y:.1f}"/>')
        shapes.append(f'<text x="{_MARGIN - 6}" y="{y + 4:.1f}" text-anchor="end">{share:.0%}</text>')
    for number in (1, 2, 5, 10, 20, 50, 128, 256, 512, 1280):
        if number <= total:
            x, _ = point(number, 0)
            shapes.append(f'<text x="{x:.1f}" y="{_HEIGHT - _MARGIN + 18}" text-anchor="middle">{number}</text>')
    line = " ".join("{:.1f},{:.1f}".format(*point(i + 1, float(share))) for i, share in enumerate(cumulative))
    shapes.append(f'<polyline class="curve" points="{line}"/>')
    for number, kind in ((components, "kept"), (int(np.searchsorted(cumulative, 0.95 - 1e-12)) + 1, "share95")):
        if number <= total:
            share = float(cumulative[number - 1])
            x, y = point(number, share)
            shapes.append(f'<circle class="{kind}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>')
            shapes.append(f'<text class="{kind}" x="{x - 9:.1f}" y="{y - 9:.1f}" text-anchor="end">')
            shapes.append(f"{number} explain {share:.1%}</text>")
    return _svg(shapes, _WIDTH, _HEIGHT, "Cumulative explained variance over the number of components")


def image_map(values: npt.NDArray[np.float32], labels: list[str]) -> Markup:
    """Every sampled image at its first two components, coloured by label; the largest labels are named."""
    side = 560
    names = [name for name, _ in Counter(labels).most_common()]
    colours = {name: _colour(i, len(names)) for i, name in enumerate(sorted(names))}
    plane = np.zeros((len(values), 2))
    plane[:, : min(2, values.shape[1])] = values[:, :2]
    low, high = plane.min(axis=0), plane.max(axis=0)
    spread = np.where(high > low, high - low, 1.0)
    placed = 12 + (plane - low) / spread * (side - 24)
    titles = {name: f"<title>{escape(name)}</title>" for name in names}
    shapes = [
        f'<circle cx="{x:.1f}" cy="{side - y:.1f}" r="3" fill="{colours[label]}">{titles[label]}</circle>'
        for (x, y), label in zip(placed, labels, strict=True)
    ]
    for row, name in enumerate(sorted(names[:_LEGEND])):
        x, y = side + 16 + 150 * (row // 20), 16 + 27 * (row % 20)
        shapes.append(f'<circle cx="{x}" cy="{y}" r="5" fill="{colours[name]}"/>')
        shapes.append(f'<text x="{x + 11}" y="{y + 4}">{escape(_short(name))}</text>')
    return _svg(shapes, side + 310, side, "Images at their first two principal components, coloured by class")


def timings(seconds: Mapping[str, float]) -> Markup:
    """A bar per stage."""
    longest = max(max(seconds.values(), default=0.0), 1e-9)
    shapes = []
    for row, (stage, duration) in enumerate(seconds.items()):
        y = 8 + 28 * row
        width = 400 * duration / longest
        shapes.append(f'<text x="88" y="{y + 14}" text-anchor="end">{escape(stage)}</text>')
        shapes.append(f'<rect class="bar" x="96" y="{y}" width="{width:.1f}" height="20" rx="3"/>')
        shapes.append(f'<text x="{104 + width:.1f}" y="{y + 14}">{duration:,.1f} s</text>')
    return _svg(shapes, _WIDTH, 8 + 28 * len(seconds), "Seconds per stage")


def _svg(shapes: list[str], width: int, height: int, title: str) -> Markup:
    body = "".join(shapes)
    return Markup(  # noqa: S704 - labels are escaped where they enter, the rest are numbers
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">{body}</svg>'
    )


def _colour(position: int, count: int) -> str:
    # Neighbours in the alphabet (Apple 1, Apple 2) differ in lightness as well as in hue.
    red, green, blue = colorsys.hls_to_rgb(position / max(1, count), (0.42, 0.58)[position % 2], 0.65)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"


def _short(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:17]}…"
