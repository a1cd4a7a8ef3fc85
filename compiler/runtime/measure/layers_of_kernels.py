"""The join of kernels that ran with the layers that TensorRT listed when it built the engine."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

Layer = Mapping[str, Any]
"""A kernel of an engine as `EngineArtifact.layers` has it: "name", "nodes" and sometimes "tactic"."""

_HASH = re.compile(r"_0x[0-9a-f]+$")
_PLACE = re.compile(r"_myl\d+_\d+$")


def layers_of_kernels(names: Sequence[str], layers: Sequence[Layer]) -> list[tuple[Layer, ...]]:
    """The layers that each kernel of one run of an engine may belong to, in the order of the kernels.

    TensorRT runs its layers in the order in which it lists them, one kernel or several for each, and calls most kernels
    after the layer or its tactic. Kernels with such a name are anchors; those between two anchors belong to the layers
    between them: one each where there are as many, else all of these together. A kernel between anchors without layers
    between them belongs to the layer before it, which has several kernels.
    """
    found: list[tuple[Layer, ...]] = [()] * len(names)
    anchors = _anchors(names, layers)
    borders = [(-1, -1), *anchors, (len(names), len(layers))]
    for kernel, layer in anchors:
        found[kernel] = (layers[layer],)
    for (first_kernel, first_layer), (last_kernel, last_layer) in pairwise(borders):
        kernels = range(first_kernel + 1, last_kernel)
        between = list(range(first_layer + 1, last_layer))
        for position, kernel in enumerate(kernels):
            if len(between) == len(kernels):
                found[kernel] = (layers[between[position]],)
            elif between:
                found[kernel] = tuple(layers[index] for index in between)
            else:
                around = [index for index in (first_layer, last_layer) if 0 <= index < len(layers)]
                found[kernel] = tuple(layers[index] for index in around[:1])
    return found


def _anchors(names: Sequence[str], layers: Sequence[Layer]) -> list[tuple[int, int]]:
    """Pairs of a kernel and a layer of its name, both ascending: the longest such list."""
    places: dict[str, list[int]] = {}
    for index, layer in enumerate(layers):
        for key in _keys_of(layer):
            places.setdefault(key, []).append(index)
    pairs = [
        (kernel, layer)
        for kernel, name in enumerate(names)
        for layer in sorted({index for key in _keys(name) for index in places.get(key, ())}, reverse=True)
    ]
    return _longest_ascending(pairs)


def _longest_ascending(pairs: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The longest part of pairs in which both numbers ascend; pairs of one first number come with descending second."""
    tails: list[int] = []
    ends: list[int] = []
    before: list[int] = []
    for index, (_, layer) in enumerate(pairs):
        place = bisect_left(tails, layer)
        before.append(ends[place - 1] if place else -1)
        if place == len(tails):
            tails.append(layer)
            ends.append(index)
        else:
            tails[place], ends[place] = layer, index
    chosen = []
    index = ends[-1] if ends else -1
    while index >= 0:
        chosen.append(pairs[index])
        index = before[index]
    return chosen[::-1]


def _keys_of(layer: Layer) -> set[str]:
    texts = [str(layer.get("name", "")), str(layer.get("tactic") or "")]
    return {key for text in texts for key in _keys(text)}


def _keys(text: str) -> set[str]:
    """A name, and what is left of it without the hash or the place that TensorRT ends it with."""
    return {key for key in (text, _HASH.sub("", text), _PLACE.sub("", text)) if key and key != "__myelin_CASK_STUB"}
