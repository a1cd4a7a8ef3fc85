"""Facts attached to a node, JSON-able, in the one place of `node.meta` that survives `torch.export.save` and `load`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from torch.fx import Node

from .ledger import Reason, Verdict

KEY = "trt_passes"
_NONE: Mapping[str, Any] = MappingProxyType({})


def annotations_of(node: Node) -> dict[str, Any]:
    """The annotations of a node; an empty dict (not attached) when there are none."""
    return dict(_known(node))


def _known(node: Node) -> Mapping[str, Any]:
    custom: Mapping[str, Mapping[str, Any]] = node.meta.get("custom") or _NONE
    return custom.get(KEY, _NONE)


def annotate_node(node: Node, **facts: Any) -> None:
    """Set annotations of a node; a value of None removes the key."""
    current = annotations_of(node)
    current.update(facts)
    kept = {key: value for key, value in current.items() if value is not None}
    custom = dict(node.meta.get("custom") or {})
    custom.pop(KEY, None)
    if kept:
        custom[KEY] = kept
    node.meta["custom"] = custom


def set_verdict(node: Node, verdict: Verdict, reasons: Iterable[Reason] = (), because: str | None = None) -> None:
    """Give a node its verdict; it replaces an earlier one, and takes the node out of its segment unless it is `trt`."""
    annotate_node(
        node,
        verdict=str(verdict),
        reasons=[reason.to_json() for reason in reasons] or None,
        because=because,
    )
    if verdict is not Verdict.TRT:
        annotate_node(node, segment=None)


def verdict_of(node: Node) -> Verdict | None:
    """The verdict of a node, or None before `annotate`."""
    value = _known(node).get("verdict")
    return None if value is None else Verdict(value)


def reasons_of(node: Node) -> tuple[Reason, ...]:
    """All reasons of a node's verdict."""
    return tuple(Reason(**reason) for reason in _known(node).get("reasons", ()))


def stays_by_measure(node: Node) -> bool:
    """Whether a node stays in PyTorch since that was measured to be better, which no partition changes."""
    return any(reason["code"] in ("TP306", "TP307", "TP309") for reason in _known(node).get("reasons", ()))


def segment_of(node: Node) -> str | None:
    """The name of the segment that a node belongs to, or None."""
    value = _known(node).get("segment")
    return None if value is None else str(value)


def kept_whole(node: Node) -> str | None:
    """Why `decompose` left a node as it was although its operator has a decomposition, or None."""
    value = annotations_of(node).get("whole")
    return None if value is None else str(value)


def is_kept_view(node: Node) -> bool:
    """Whether a node makes a view that must share memory with what it is a view of, since the caller gets both."""
    return bool(annotations_of(node).get("view"))


def mark_cast(node: Node) -> None:
    """Note that a node changes the type of a value between its neighbours, and comes and goes with their types."""
    annotate_node(node, cast=node.name)


def is_cast(node: Node) -> bool:
    """Whether `mark_cast` marked the node itself, and not one that it was made like."""
    return _known(node).get("cast") == node.name


def is_exact(node: Node) -> bool:
    """Whether a node belongs to a Fourier transform, whose products must not be rounded to fewer digits."""
    return bool(_known(node).get("exact"))


def clear(node: Node, *keys: str) -> None:
    """Remove annotations of a node."""
    known = _known(node)
    if any(key in known for key in keys):
        annotate_node(node, **dict.fromkeys(keys))
