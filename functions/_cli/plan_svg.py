"""A plan as one SVG file: no script, no font, nothing from elsewhere; foreign text is escaped and bounded."""

from collections.abc import Iterator, Mapping
from xml.sax.saxutils import escape

from functions._cli.plan_picture import NAME, NOTE, Node, Picture, short

WIDTH, HEIGHT = 220, 52
"""Size of a node, in pixels."""

ACROSS, DOWN, MARGIN, DIAMOND = 300, 72, 24, 9
"""Distance of columns and rows, the margin of the page, and half the size of a condition."""

TITLE = 300
"""Characters of what a pointer over a node shows."""

COLOURS: Mapping[str, str] = {
    "COMPLETED": "#c8e6c9",
    "FAILED": "#ffcdd2",
    "CANCELLED": "#ffe0b2",
    "SKIPPED": "#eeeeee",
    "RUNNING": "#bbdefb",
    "ASSIGNED": "#bbdefb",
    "WAITING": "#fff9c4",
    "COMPENSATING": "#e1bee7",
    "COMPENSATED": "#e1bee7",
}
PLAIN = "#ffffff"

STYLE = (
    "text{font:12px sans-serif;fill:#222}.s{font-size:10px;fill:#555}.n{stroke:#555}.c{stroke:#c62828;stroke-width:3}"
    ".e{fill:none;stroke:#999}.p{fill:none;stroke:#c62828;stroke-width:2}"
)


def as_svg(picture: Picture) -> str:
    """Return the picture as SVG, columns being levels; the critical path is red and thick.

    The plans of sub-flows are below it, each with the name of its task.
    """
    panels = [_panel(name, one) for name, one in _all(picture, "")]
    wide, high = max(one for _, one, _ in panels), sum(one for _, _, one in panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" viewBox="0 0 {wide} {high}">',
        f"<style>{STYLE}</style>",
        f'<rect width="{wide}" height="{high}" fill="#fafafa"/>',
    ]
    top = 0
    for lines, _, height in panels:
        parts += [f'<g transform="translate(0 {top})">', *lines, "</g>"] if top else lines
        top += height
    return "\n".join((*parts, "</svg>"))


def _all(picture: Picture, name: str) -> Iterator[tuple[str, Picture]]:
    """Yield a picture and those within it, each with the tasks that lead to it."""
    yield name, picture
    for place, inner in picture.inner.items():
        yield from _all(inner, f"{name}{picture.nodes[place].task_id}/")


def _panel(name: str, picture: Picture) -> tuple[list[str], int, int]:
    """Return the lines of one plan, its width and its height."""
    rows: dict[int, int] = {}
    places: list[tuple[int, int]] = []
    for node in picture.nodes:
        row = rows[node.level] = rows.get(node.level, -1) + 1
        places.append((MARGIN + node.level * ACROSS, MARGIN + row * DOWN))
    wide = 2 * MARGIN + (picture.levels - 1) * ACROSS + WIDTH
    high = 2 * MARGIN + max(rows.values(), default=0) * DOWN + HEIGHT
    parts = [f'<text class="s" x="{MARGIN}" y="{MARGIN - 8}">{_text(short(name, NOTE))}</text>'] if name else []
    for node, place in zip(picture.nodes, places, strict=True):
        parts += [_edge(node, places[one], place, critical=one == node.before) for one in node.after]
    parts += [_node(node, *place) for node, place in zip(picture.nodes, places, strict=True)]
    return parts, wide, high


def _edge(to: Node, begin: tuple[int, int], end: tuple[int, int], *, critical: bool) -> str:
    x, y = begin[0] + WIDTH, begin[1] + HEIGHT // 2
    to_x, to_y = end[0] - (2 * DIAMOND if to.condition else 0), end[1] + HEIGHT // 2
    bend = max(30, (to_x - x) // 2)
    return f'<path class="{"p" if critical else "e"}" d="M{x} {y}C{x + bend} {y} {to_x - bend} {to_y} {to_x} {to_y}"/>'


def _node(node: Node, x: int, y: int) -> str:
    colour = COLOURS.get(node.status or "", PLAIN)
    look = f'class="{"c" if node.critical else "n"}" fill="{colour}"'
    title = short(f"{node.task_id}: {node.condition or node.note or node.kind}", TITLE)
    second = short(", ".join(word for word in (node.status or node.kind, node.note) if word), NOTE)
    return "".join(
        (
            f"<g><title>{_text(title)}</title>",
            _shape(node.shape, x, y, look),
            _diamond(x, y) if node.condition else "",
            f'<text x="{x + 18}" y="{y + 22}">{_text(short(node.task_id, NAME))}</text>',
            f'<text class="s" x="{x + 18}" y="{y + 40}">{_text(second)}</text></g>',
        )
    )


def _shape(shape: str, x: int, y: int, look: str) -> str:
    right, bottom, middle = x + WIDTH, y + HEIGHT, y + HEIGHT // 2
    box = f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" {look}/>'
    match shape:
        case "approval":
            corners = (
                f"{x},{middle} {x + 14},{y} {right - 14},{y} {right},{middle} {right - 14},{bottom} {x + 14},{bottom}"
            )
            return f'<polygon points="{corners}" {look}/>'
        case "wait":
            return f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="{HEIGHT // 2}" {look}/>'
        case "foreach":
            behind = f'<rect x="{x + 5}" y="{y + 5}" width="{WIDTH}" height="{HEIGHT}" {look}/>'
            return behind + box
        case "sub-flow":
            return f'{box}<path class="e" d="M{x + 8} {y}V{bottom}M{right - 8} {y}V{bottom}"/>'
    return box


def _diamond(x: int, y: int) -> str:
    middle = y + HEIGHT // 2
    corners = (
        f"{x - 2 * DIAMOND},{middle} {x - DIAMOND},{middle - DIAMOND} {x},{middle} {x - DIAMOND},{middle + DIAMOND}"
    )
    return f'<polygon class="n" fill="#ffffff" points="{corners}"/>'


def _text(text: str) -> str:
    """Return foreign text for XML: what XML cannot hold is left out."""
    kept = "".join(one for one in text if one == " " or (one.isprintable() and not "\ud800" <= one <= "\udfff"))
    return escape(kept, {'"': "&quot;", "'": "&apos;"})
