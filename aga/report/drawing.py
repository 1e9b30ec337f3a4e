"""What all pictures of a report share: size, colours, axes, SVG."""

import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

#: colours that stay apart for most readers (Okabe & Ito 2008), by meaning
BLUE, ORANGE, GREEN, RED = "#0072b2", "#e69f00", "#009e73", "#d55e00"
PURPLE, SKY, YELLOW, BLACK, GREY = "#cc79a7", "#56b4e9", "#b8a800", "#222222", "#888888"
WHEEL = (BLUE, ORANGE, GREEN, PURPLE, RED, SKY, YELLOW, BLACK, "#a06a42")
#: how dots are filled and lines are drawn: the second and third time that the colours go round
ROUNDS = (("full", "-"), ("none", "--"), ("left", ":"))
SIZE = (7.2, 4.2)  # [inch]

_STYLE: Any = {
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 10.0,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 9.0,
    "svg.fonttype": "none",  # text stays text: it can be searched, and the file is small
    "svg.hashsalt": "aga",
}


@contextmanager
def style() -> Iterator[None]:
    """The look of the report, for as long as the block runs."""
    from matplotlib import rc_context

    with rc_context(_STYLE):
        yield


def figure(size: tuple[float, float] = SIZE) -> Any:
    """An empty picture; it belongs to nobody else, unlike those of pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    made = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(made)
    return made


@dataclass(frozen=True, slots=True)
class Look:
    """How one of many is drawn: a colour, dots that are full, empty or half full, and a line."""

    color: str
    fillstyle: str
    linestyle: str

    @property
    def dots(self) -> dict[str, Any]:
        """For dots without a line."""
        return {"color": self.color, "fillstyle": self.fillstyle, "ls": "", "markeredgewidth": 1.1}

    @property
    def line(self) -> dict[str, Any]:
        """For a line with dots."""
        return {**self.dots, "ls": self.linestyle}


def looks(names: Iterable[str]) -> dict[str, Look]:
    """A look of its own for each of up to 27 names."""
    found = {}
    for place, name in enumerate(sorted(set(names))):
        lap, colour = divmod(place, len(WHEEL))
        found[name] = Look(WHEEL[colour], *ROUNDS[lap % len(ROUNDS)])
    return found


def svg(picture: Any) -> str:
    """A picture as an SVG file, the same text for the same picture."""
    text = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    picture.savefig(text, format="svg", metadata=nothing)
    return text.getvalue()


def inline(text: str, prefix: str, title: str) -> str:
    """An SVG as part of a page: no header, no names of the web, ids of its own."""
    start = text.index("<svg")
    body = re.sub(r"<metadata>.*?</metadata>", "", text[start:], flags=re.DOTALL)
    body = re.sub(r' xmlns(:\w+)?="[^"]*"', "", body)
    body = re.sub(r'\bid="', f'id="{prefix}-', body)
    body = re.sub(r'(href="|url\()#', rf"\1#{prefix}-", body)
    return body.replace("<svg", f'<svg role="img" aria-label="{title}"', 1)
