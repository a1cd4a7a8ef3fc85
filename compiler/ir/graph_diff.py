"""The difference between two graphs in text form, made to be read: counts, rewritten lines, changed verdicts."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence

from .graph_lines import NodeLine, parse_graph

CONTEXT = 3
"""Unchanged lines around changed ones."""

_OPERATORS = 8


def graph_diff(before: str, after: str, names: tuple[str, str] = ("before", "after")) -> str:
    """What turned one graph (the text of a `graph.txt`) into another; "" if nothing did.

    First a line of counts. Then a unified diff of the graphs without verdicts. Last the verdicts and segments that
    changed, with runs of nodes that changed in the same way on one line, so that an analysis pass over a thousand nodes
    reads in a dozen lines.
    """
    old, new = parse_graph(before), parse_graph(after)
    edits = unified([line.plain for line in old.values()], [line.plain for line in new.values()], names)
    parts = [*(_summary(old, new) if edits else ()), *edits, *_annotation_changes(old, new)]
    return "".join(f"{line}\n" for line in parts)


def _summary(old: dict[str, NodeLine], new: dict[str, NodeLine]) -> Iterator[str]:
    counts = {
        "created": sum(name not in old for name in new),
        "erased": sum(name not in new for name in old),
        "rewired": sum(name in old and old[name].text != line.text for name, line in new.items()),
    }
    words = [f"{count:,} {word}" for word, count in counts.items() if count]
    yield f"# {', '.join(words) or 'the same nodes from other lines'}"
    operators = Counter(line.op for line in new.values() if line.is_op)
    operators.subtract(line.op for line in old.values() if line.is_op)
    changed = sorted((item for item in operators.items() if item[1]), key=lambda item: (-abs(item[1]), item[0]))
    if changed:
        more = f", {len(changed) - _OPERATORS} more" if len(changed) > _OPERATORS else ""
        yield f"# operators: {', '.join(f'{name} {count:+,}' for name, count in changed[:_OPERATORS])}{more}"


def unified(old: Sequence[str], new: Sequence[str], names: tuple[str, str]) -> list[str]:
    """Unified diff of lines that occur once each, as the lines of a graph do: n log n by longest increasing run."""
    kept = _common(old, new)
    edits: list[tuple[str, int, int, str]] = []
    start_old = start_new = 0
    for stop_old, stop_new in [*kept, (len(old), len(new))]:
        edits += [("-", i, start_new, old[i]) for i in range(start_old, stop_old)]
        edits += [("+", stop_old, i, new[i]) for i in range(start_new, stop_new)]
        if stop_old < len(old):
            edits.append((" ", stop_old, stop_new, old[stop_old]))
        start_old, start_new = stop_old + 1, stop_new + 1
    changed = [index for index, edit in enumerate(edits) if edit[0] != " "]
    if not changed:
        return []
    lines = [f"--- {names[0]}", f"+++ {names[1]}"]
    for first, last in _hunks(changed, len(edits)):
        hunk = edits[first:last]
        count_old = sum(edit[0] != "+" for edit in hunk)
        count_new = sum(edit[0] != "-" for edit in hunk)
        lines.append(f"@@ -{hunk[0][1] + 1},{count_old} +{hunk[0][2] + 1},{count_new} @@")
        lines += [f"{edit[0]}{edit[3]}" for edit in hunk]
    return lines


def _common(old: Sequence[str], new: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs of positions of equal lines, growing in both, as many as possible."""
    where = {line: index for index, line in enumerate(new)}
    pairs = [(index, where[line]) for index, line in enumerate(old) if line in where]
    tails: list[int] = []
    ends: list[int] = []
    previous: list[int] = []
    for index, (_, position) in enumerate(pairs):
        slot = bisect_left(tails, position)
        previous.append(ends[slot - 1] if slot else -1)
        tails[slot : slot + 1], ends[slot : slot + 1] = [position], [index]
    run: list[tuple[int, int]] = []
    index = ends[-1] if ends else -1
    while index >= 0:
        run.append(pairs[index])
        index = previous[index]
    return run[::-1]


def _hunks(changed: list[int], count: int) -> Iterator[tuple[int, int]]:
    first = last = changed[0]
    for index in [*changed[1:], count + 2 * CONTEXT + 1]:
        if index - last > 2 * CONTEXT:
            yield max(0, first - CONTEXT), min(count, last + CONTEXT + 1)
            first = index
        last = index


def _annotation_changes(old: dict[str, NodeLine], new: dict[str, NodeLine]) -> list[str]:
    moves = [(name, old[name].verdict if name in old else "", line.verdict) for name, line in new.items() if line.is_op]
    runs: list[tuple[tuple[str, str], list[str]]] = []
    for name, was, now in moves:
        if runs and runs[-1][0] == (was, now):
            runs[-1][1].append(name)
        else:
            runs.append(((was, now), [name]))
    lines = [_run_text(names, *move) for move, names in runs if move[0] != move[1]]
    total = sum(was != now for _, was, now in moves)
    return [f"# annotations: {total:,} op node{'' if total == 1 else 's'}", *lines] if lines else []


def _run_text(names: list[str], was: str, now: str) -> str:
    which = f"%{names[0]}" if len(names) == 1 else f"%{names[0]} to %{names[-1]} ({len(names):,} nodes)"
    return f"~ {which}: {was or 'none'} → {now or 'none'}"
