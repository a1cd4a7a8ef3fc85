"""Pictures coloured by a number per op node, such as its run time, and a tree map of the modules that take it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from html import escape

from .palette import INK, MUTED, PAPER
from .picture import Box, Picture

STEPS = ("#fff7ec", "#fee8c8", "#fdd49e", "#fdbb84", "#fc8d59", "#ef6548", "#d7301f")
"""Fills from the least to the most: the palette OrRd of ColorBrewer, which reads in grey too."""


def heated(picture: Picture, values: Mapping[str, float], text: Callable[[float], str], remark: str) -> Picture:
    """The picture with every box filled by the sum of its nodes' values, which is added to its label.

    Args:
        values: by the name of the op node; boxes of none are left without a fill of this kind.
        text: a value as it is shown.
        remark: what the values are.
    """
    sums = {box.id: _sum(box, values) for box in picture.boxes}
    most = max((value for value in sums.values() if value is not None), default=0.0)
    boxes = []
    for box in picture.boxes:
        value = sums[box.id]
        if value is None:
            boxes.append(box)
            continue
        label = (*box.lines, text(value)) if value > 0 else box.lines
        boxes.append(replace(box, lines=label, fill=fill_of(value / most if most else 0.0)))
    return replace(picture, boxes=tuple(boxes), remarks=(*picture.remarks, remark))


def fill_of(share: float) -> str:
    """The fill for a share of the largest value, 0 to 1."""
    return STEPS[min(len(STEPS) - 1, max(0, round(share * (len(STEPS) - 1))))]


def _sum(box: Box, values: Mapping[str, float]) -> float | None:
    known = [values[name] for name in box.nodes if name in values]
    return sum(known) * box.times if known else None


# --- tree map ------------------------------------------------------------------------------------------------------
@dataclass
class _Module:
    """A module of the tree: its own value, and that of those inside of it."""

    path: str
    own: float = 0.0
    children: dict[str, _Module] = field(default_factory=dict)

    @property
    def total(self) -> float:
        return self.own + sum(child.total for child in self.children.values())


_HEADER, _LEAST = 14.0, 3.0


def tree_map(
    values: Iterable[tuple[str, float]], text: Callable[[float], str], title: str, size: tuple[int, int] = (1200, 640)
) -> str:
    """An SVG in which every module of a model is a rectangle as large as its value, inside of its parent's.

    Args:
        values: dotted paths of modules ("" is the model itself), each with what it takes without its children; a path
            may come several times.
        text: a value as it is shown.
        title: what the values are.
    """
    root = _Module("")
    for path, value in values:
        node = root
        parts = path.split(".") if path else []
        for depth, part in enumerate(parts):
            node = node.children.setdefault(part, _Module(".".join(parts[: depth + 1])))
        node.own += value
    width, height = size
    total = root.total
    parts_of_svg: list[str] = []
    if total > 0:
        _draw(root, (0.0, 24.0, float(width), height - 24.0), total, text, parts_of_svg, 0)
    head = f'<text x="4" y="16" font-size="13" fill="{INK}">{escape(title)}: {escape(text(total))}</text>'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="Helvetica,Arial,sans-serif" class="tree-map"><rect width="{width}" height="{height}" '
        f'fill="{PAPER}"/>{head}{"".join(parts_of_svg)}</svg>\n'
    )


Area = tuple[float, float, float, float]
"""Left, top, width and height."""


def _draw(node: _Module, area: Area, total: float, text: Callable[[float], str], found: list[str], depth: int) -> None:
    x, y, width, height = area
    if width < _LEAST or height < _LEAST:
        return
    name, share = node.path or "the model itself", node.total / total
    label = f"{name}: {text(node.total)}, {100 * share:.1f} %"
    found.append(
        f'<g><title>{escape(label)}</title><rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" '
        f'fill="{fill_of(share**0.5)}" stroke="{MUTED}" stroke-width="0.7"/>'
    )
    if width > 50 and height > _HEADER:
        shown = f"{name.rpartition('.')[2]} {text(node.total)}"[: int(width / 6)]
        found.append(f'<text x="{x + 3:.1f}" y="{y + 11:.1f}" font-size="10" fill="{INK}">{escape(shown)}</text>')
    found.append("</g>")
    inner = (x + 2, y + _HEADER, width - 4, height - _HEADER - 2)
    children = sorted(node.children.values(), key=lambda child: -child.total)
    items: list[tuple[_Module | None, float]] = [(child, child.total) for child in children if child.total > 0]
    if node.own > 0 and items:
        items.append((None, node.own))
    for (child, _), place in zip(items, _squares([value for _, value in items], inner), strict=True):
        if child is not None:
            _draw(child, place, total, text, found, depth + 1)


def _squares(values: list[float], area: Area) -> list[Area]:
    """Rectangles of these sizes, most first, that fill an area, as close to squares as rows of them can be.

    After Bruls, Huizing and van Wijk, "Squarified treemaps" (2000).
    """
    x, y, width, height = area
    if not values or width <= 0 or height <= 0:
        return [(x, y, 0.0, 0.0)] * len(values)
    scale = width * height / sum(values)
    sizes = [value * scale for value in values]
    places: list[Area] = []
    while sizes:
        side = min(width, height)
        if side <= 0:
            return places + [(x, y, 0.0, 0.0)] * len(sizes)
        count = 1
        while count < len(sizes) and _worst(sizes[: count + 1], side) <= _worst(sizes[:count], side):
            count += 1
        row, sizes = sizes[:count], sizes[count:]
        thick = sum(row) / side
        along = 0.0
        for size in row:
            length = size / thick if thick else 0.0
            places.append((x, y + along, thick, length) if width >= height else (x + along, y, length, thick))
            along += length
        if width >= height:
            x, width = x + thick, width - thick
        else:
            y, height = y + thick, height - thick
    return places


def _worst(row: list[float], side: float) -> float:
    """The least square of a row's rectangles: the longer side over the shorter."""
    total = sum(row)
    if total <= 0:
        return float("inf")
    return max(max(side**2 * size / total**2, total**2 / (side**2 * size)) for size in row if size > 0)
