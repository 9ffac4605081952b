"""A bar chart as SVG: few lines, no library, readable on light and dark pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, LABEL, VALUE = 760, 130, 150  # pixels: of the picture, of the names left, of the numbers right
BAR, GAP, HEAD = 16, 6, 34
OURS, OTHERS, INK, PAPER = "#2f6fb2", "#9aa5b1", "#1f2933", "#ffffff"


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar with its spread."""

    label: str
    value: float
    least: float
    most: float
    text: str
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars on one scale."""

    title: str
    bars: Sequence[Bar]


def svg(panels: Sequence[Panel], title: str) -> str:
    """Return the picture."""
    parts, y = [], 10
    for panel in panels:
        drawn, y = _panel(panel, y)
        parts += drawn
    style = f'font-family="sans-serif" font-size="12" fill="{INK}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" role="img" {style}>'
    paper = f'<rect width="{WIDTH}" height="{y}" fill="{PAPER}"/>'
    return "\n".join([head, f"<title>{escape(title)}</title>", paper, *parts, "</svg>\n"])


def _panel(panel: Panel, y: int) -> tuple[list[str], int]:
    scale = (WIDTH - LABEL - VALUE) / max((bar.most for bar in panel.bars), default=1)
    parts = [f'<text x="10" y="{y + 16}" font-weight="bold">{escape(panel.title)}</text>']
    y += HEAD - BAR
    for bar in panel.bars:
        y += GAP
        middle, text = y + BAR / 2, y + BAR - 4
        fill = OURS if bar.ours else OTHERS
        least, most = LABEL + bar.least * scale, LABEL + bar.most * scale
        parts += [
            f'<text x="{LABEL - 8}" y="{text}" text-anchor="end">{escape(bar.label)}</text>',
            f'<rect x="{LABEL}" y="{y}" width="{bar.value * scale:.1f}" height="{BAR}" fill="{fill}"/>',
            f'<line x1="{least:.1f}" x2="{most:.1f}" y1="{middle}" y2="{middle}" stroke="{INK}"/>',
            f'<text x="{most + 6:.1f}" y="{text}">{escape(bar.text)}</text>',
        ]
        y += BAR
    return parts, y + GAP * 2
