"""Collapse a picture before it is laid out: repeated blocks drawn once, modules folded, long runs shortened.

Graphviz needs minutes for thousands of boxes, and nobody reads them; every picture says how much it hides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from .picture import Box, Edge, Picture, merged_edges, total_verdicts

MIN_BLOCK = 3
"""Boxes that a block must have to be drawn once for all its repetitions."""

COARSE = 12
"""A picture folded to fewer boxes than this tells too little; it is folded less, and long runs are folded instead."""


_COLLAPSED = ("module", "run")


def collapsed(picture: Picture, limit: int, folded_limit: int) -> Picture:
    """The picture with repeated blocks drawn once; if more than `limit` boxes remain, folded to `folded_limit`."""
    picture = merge_repeats(picture)
    if len(picture.boxes) > limit:
        picture = fold_runs(fold_modules(picture, folded_limit), folded_limit)
    return with_remark(picture)


def with_remark(picture: Picture) -> Picture:
    """The picture with a remark on how many of its op nodes have no box of their own."""
    total = sum(picture.counts.values())
    shown = sum(sum(box.verdicts.values()) for box in picture.boxes if box.kind not in _COLLAPSED)
    if shown >= total:
        return picture
    return replace(
        picture, remarks=(*picture.remarks, f"{shown:,} of {total:,} {picture.unit}s drawn, the rest collapsed")
    )


# --- repeated blocks -----------------------------------------------------------------------------------------------
def merge_repeats(picture: Picture) -> Picture:
    """Draw numbered modules in a row (`layers.0`, `layers.1`, …) that do the same once; their frame says how often."""
    done: set[str] = set()
    while True:
        parents = {parent for box in picture.boxes for parent, _ in _numbered(box.module)} - done
        if not parents:
            return picture
        parent = min(parents, key=lambda path: (path.count("."), path))
        done.add(parent)
        picture = _merge_children(picture, parent)


def _numbered(module: str) -> Iterator[tuple[str, int]]:
    """Every numbered module on a path: `a.0.b.3` gives ("a", 0) and ("a.0.b", 3)."""
    words = module.split(".")
    for index, word in enumerate(words):
        if word.isdecimal():
            yield ".".join(words[:index]), int(word)


def _merge_children(picture: Picture, parent: str) -> Picture:
    blocks: dict[int, list[Box]] = {}
    for box in picture.boxes:
        number = dict(_numbered(box.module)).get(parent)
        if number is not None:
            blocks.setdefault(number, []).append(box)
    sources = _sources(picture.edges)
    frames, owner, times = dict(picture.frames), {}, {}
    repetition: dict[str, tuple[int, int]] = {}
    for run in _runs(blocks, parent, sources):
        if len(run) == 1:
            continue
        first = _path(parent, run[0])
        frames[first] = f"{first} … {run[-1]}  ×{len(run)}"
        times.update({kept.id: kept.times * len(run) for kept in blocks[run[0]]})
        for number in run:
            repetition.update({box.id: (run[0], number) for box in blocks[number]})
            owner.update({box.id: kept.id for box, kept in zip(blocks[number], blocks[run[0]], strict=True)})
    if not owner:
        return picture
    boxes = tuple(
        replace(box, times=times.get(box.id, box.times)) for box in picture.boxes if owner.get(box.id, box.id) == box.id
    )
    edges = (edge for edge in picture.edges if not _between_repetitions(edge, repetition))
    return replace(picture, boxes=boxes, edges=merged_edges(edges, owner), frames=frames)


def _between_repetitions(edge: Edge, repetition: Mapping[str, tuple[int, int]]) -> bool:
    """Whether an edge leads from one repetition of a block to another: drawn once, it would point backwards."""
    source, target = repetition.get(edge.source), repetition.get(edge.target)
    return source is not None and target is not None and source[0] == target[0] and source[1] != target[1]


def _runs(blocks: Mapping[int, list[Box]], parent: str, sources: Mapping[str, list[str]]) -> Iterator[list[int]]:
    """Numbers of blocks in a row that do the same."""
    run: list[int] = []
    last: tuple[object, ...] = ()
    for number in sorted(blocks):
        signature = _signature(blocks[number], _path(parent, number), sources)
        if run and number == run[-1] + 1 and signature == last and len(blocks[number]) >= MIN_BLOCK:
            run.append(number)
            continue
        if run:
            yield run
        run, last = [number], signature
    if run:
        yield run


def _signature(boxes: list[Box], path: str, sources: Mapping[str, list[str]]) -> tuple[object, ...]:
    position = {box.id: index for index, box in enumerate(boxes)}
    return tuple(
        (
            box.module.removeprefix(path),
            box.signature,
            tuple(sorted(box.verdicts.items())),
            box.touched,
            tuple(sorted(position.get(source, -1) for source in sources.get(box.id, ()))),
        )
        for box in boxes
    )


def _sources(edges: Iterable[Edge]) -> dict[str, list[str]]:
    sources: dict[str, list[str]] = {}
    for edge in edges:
        sources.setdefault(edge.target, []).append(edge.source)
    return sources


def _path(parent: str, number: int) -> str:
    return f"{parent}.{number}" if parent else str(number)


# --- folding -------------------------------------------------------------------------------------------------------
def fold_modules(picture: Picture, limit: int) -> Picture:
    """Fold modules into one box each, all below the same depth: the deepest at which at most `limit` boxes remain.

    Where that leaves hardly anything, one level more is kept.
    """
    depths = range(max((_depth(box.module) for box in picture.boxes), default=0), 0, -1)
    levels = [(depth, sum(1 for _ in _groups(picture.boxes, depth))) for depth in depths]
    fitting = [(depth, count) for depth, count in levels if count <= limit]
    if not fitting:
        return _folded(picture, 1) if levels else picture
    depth, count = fitting[0]
    if count < COARSE and any(level == depth + 1 for level, _ in levels):
        depth += 1
    return _folded(picture, depth)


def _depth(module: str) -> int:
    return module.count(".") + 1 if module else 0


def _groups(boxes: Iterable[Box], depth: int) -> Iterator[str]:
    """The keys of the boxes that remain: a module path cut to `depth`, or a box's id where nothing is folded."""
    seen = set()
    for box in boxes:
        key = _group(box, depth)
        if key not in seen:
            seen.add(key)
            yield key


def _group(box: Box, depth: int) -> str:
    if box.kind in ("input", "output") or _depth(box.module) < depth:
        return f"box {box.id}"
    return f"module {'.'.join(box.module.split('.')[:depth])}"


def _folded(picture: Picture, depth: int) -> Picture:
    members: dict[str, list[Box]] = {}
    for box in picture.boxes:
        members.setdefault(_group(box, depth), []).append(box)
    boxes, owner = [], {}
    for key, group in members.items():
        if len(group) == 1:
            boxes.append(group[0])
            continue
        path = key.removeprefix("module ")
        folded = _group_box(f"module:{path}", picture.frames.get(path, path), group, _parent(path))
        boxes.append(folded)
        owner.update({box.id: folded.id for box in group})
    return replace(picture, boxes=tuple(boxes), edges=merged_edges(picture.edges, owner))


def _parent(path: str) -> str:
    return path.rpartition(".")[0]


def _group_box(name: str, title: str, group: list[Box], module: str) -> Box:
    verdicts = total_verdicts(group)
    return Box(
        id=name,
        lines=(title, f"{sum(verdicts.values()):,} ops", _operators_text(group)),
        kind="module",
        verdicts=verdicts,
        module=module,
        touched=any(box.touched for box in group),
        nodes=tuple(node for box in group for node in box.nodes),
        tooltip=f"{title}\n{_operators_text(group, 12)}",
        url=f"#node={group[0].id}" if group[0].kind == "operator" else "",
    )


def _operators_text(group: Iterable[Box], limit: int = 3) -> str:
    """The most frequent operators of a group: "linear ×72, add ×25"."""
    counts: Counter[str] = Counter()
    for box in group:
        if box.signature:
            operator = box.signature.split("|")[0].removeprefix("aten.").split(".")[0]
            counts[operator] += box.times
    common = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    words = [f"{name} ×{count}" if count > 1 else name for name, count in common[:limit]]
    return ", ".join([*words, "…"] if len(common) > limit else words)


def fold_runs(picture: Picture, limit: int) -> Picture:
    """Fold boxes that follow each other in graph order into one, as many as it takes to get down to `limit`.

    Graph order is an execution order, so folded runs never depend on each other in a circle.
    """
    inner = [box for box in picture.boxes if box.kind not in ("input", "output")]
    if len(picture.boxes) <= limit:
        return picture
    ends = [box for box in picture.boxes if box.kind in ("input", "output")]
    size = -(-len(inner) // max(1, limit - min(len(ends), limit // 2)))
    boxes, owner = [], {}
    for start in range(0, len(inner), size):
        group = inner[start : start + size]
        if len(group) == 1:
            boxes.append(group[0])
            continue
        title = f"{group[0].lines[0]} … {group[-1].lines[0]}"
        run = replace(_group_box(f"run:{group[0].id}", title, group, ""), kind="run")
        boxes.append(run)
        owner.update({box.id: run.id for box in group})
    inputs, outputs = _ends(ends, limit // 4)
    owner.update({name: box.id for box in (*inputs, *outputs) for name in box.nodes if name != box.id})
    edges = merged_edges(picture.edges, owner)
    return replace(picture, boxes=(*inputs, *boxes, *outputs), edges=edges)


def _ends(ends: list[Box], limit: int) -> tuple[list[Box], list[Box]]:
    """Inputs and outputs, each as one box when there are more than `limit`."""
    sides = []
    for kind in ("input", "output"):
        side = [box for box in ends if box.kind == kind]
        if len(side) > max(1, limit):
            names = tuple(box.id for box in side)
            side = [replace(side[0], id=f"run:{kind}s", lines=(f"{len(side)} {kind}s",), nodes=names)]
        sides.append(side)
    return sides[0], sides[1]
