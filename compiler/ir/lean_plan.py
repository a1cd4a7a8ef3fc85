"""A serialized engine without the bytes that weights hold, so that a process or a file has these once.

TensorRT copies weights into an engine, most of them as they are or with their dimensions in another order. What is
found there again is left out, and put back when the engine is loaded. Nothing is known of an engine beyond that: what
is not found stays, and a checksum says whether what was put together is what TensorRT made.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .memory import view_key
from .strict_json import strict_json

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
Buffer = bytes | bytearray | memoryview | Bytes

_MAGIC = b"trt-passes engine without weights\n"
_LEAST = 4096
"""Bytes of a weight that are worth it."""
_KEY = 8
"""Bytes by which a weight is looked for."""
_STEP = 4
"""Bytes at multiples of which weights begin: few do not at those of eight."""
_CHUNK = 1 << 22
_ORDERS = {2: ((1, 0),), 3: ((0, 2, 1),), 4: ((0, 2, 3, 1),), 5: ((0, 2, 3, 4, 1),)}
"""Orders of dimensions that TensorRT keeps weights in, beside their own: transposed products, channels last."""


class WeightsChanged(ValueError):
    """Weights are not what they were when the engine was built."""


@dataclass(frozen=True)
class _Form:
    """A weight in an order of its dimensions, and its first bytes that tell it from others, with their place in it."""

    number: int
    order: tuple[int, ...]
    key: int
    place: int


def lean(plan: Buffer, weights: Sequence[torch.Tensor]) -> bytearray | None:
    """An engine without what weights hold; None if they hold nothing of it.

    Args:
        plan: the serialized engine.
        weights: those that it was built with, in the order in which `whole` is given them.
    """
    data: Bytes = np.frombuffer(plan, dtype=np.uint8)
    pieces = _without_overlaps(_found(data, weights))
    if not pieces:
        return None
    header = {
        "size": len(data),
        "checksum": hashlib.sha256(data.data).hexdigest(),
        "pieces": [[number, list(order), start, size] for number, order, start, size in pieces],
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    ends = [0, *itertools.chain.from_iterable((start, start + size) for _, _, start, size in pieces), len(data)]
    made = bytearray(_MAGIC + len(text).to_bytes(8, "little") + text)
    for begin, end in zip(ends[::2], ends[1::2], strict=True):
        made += data[begin:end].data
    return made


def is_lean(data: Bytes) -> bool:
    """Whether weights were left out of a serialized engine."""
    return bytes(data[: len(_MAGIC)].data) == _MAGIC


def whole_size(data: Buffer) -> int:
    """Bytes of the engine that TensorRT made."""
    found: Bytes = np.frombuffer(data, dtype=np.uint8)
    return int(_header(found)[0]["size"]) if is_lean(found) else len(found)


def whole(data: Buffer, weights: Sequence[torch.Tensor]) -> Bytes:
    """The engine as TensorRT made it, uint8[size].

    Args:
        data: the engine, or what `lean` gave.
        weights: as `lean` was given them, on any device.

    Raises:
        WeightsChanged: they are others.
        ValueError: the data is damaged.
    """
    found: Bytes = np.frombuffer(data, dtype=np.uint8)
    if not is_lean(found):
        return found
    header, rest = _header(found)
    for number, _, size, order in header["pieces"]:
        if number >= len(weights) or sorted(order) != list(range(weights[number].dim())):
            raise WeightsChanged(f"there are {len(weights)}, of other shapes")
        if size != weights[number].numel() * weights[number].element_size():
            raise WeightsChanged("they are of another size or type")
    made, begin = np.empty(int(header["size"]), dtype=np.uint8), 0
    for number, start, size, order in header["pieces"]:
        gap, end = start - begin, start + size
        if gap < 0 or end > len(made) or gap > len(rest):
            raise ValueError("its sizes are wrong")
        made[begin:start], rest = rest[:gap], rest[gap:]
        made[start:end], begin = _bytes(weights[number], order), end
    made[begin:] = rest
    if hashlib.sha256(made.data).hexdigest() != header["checksum"]:
        raise WeightsChanged("they hold other numbers")
    return made


def _header(data: Bytes) -> tuple[dict[str, Any], Bytes]:
    """What was left out, and the bytes that were not.

    Raises:
        ValueError: it is damaged.
    """
    start = len(_MAGIC) + 8
    end = start + int.from_bytes(data[len(_MAGIC) : start].tobytes(), "little")
    try:
        header = strict_json(data[start:end].tobytes())
        rows = [
            (int(number), int(start), int(size), [int(dim) for dim in order])
            for number, order, start, size in header["pieces"]
        ]
        known = sum(size for _, _, size, _ in rows) + len(data) - end
        if header["size"] != known or any(min(number, start, size) < 0 for number, start, size, _ in rows):
            raise ValueError("its size is wrong")
        return {"size": header["size"], "checksum": str(header["checksum"]), "pieces": rows}, data[end:]
    except (KeyError, TypeError, UnicodeDecodeError) as error:
        raise ValueError(f"its header is damaged ({error!r})") from None


def _found(data: Bytes, weights: Sequence[torch.Tensor]) -> Iterator[tuple[int, tuple[int, ...], int, int]]:
    """Number and order of each weight that is in the engine, where it begins, and its bytes."""
    forms = list(_forms(weights))
    keys = np.unique(np.array([form.key for form in forms], dtype=np.uint64))
    starts: dict[int, list[int]] = {}
    for shift in range(0, _KEY, _STEP):
        for word, start in _words(data[shift:], keys):
            starts.setdefault(word, []).append(start + shift)
    for form in forms:
        size = weights[form.number].numel() * weights[form.number].element_size()
        begins = (start - form.place for start in starts.get(form.key, ()))
        fitting = [begin for begin in begins if 0 <= begin <= len(data) - size]
        if not fitting:
            continue
        piece = _bytes(weights[form.number], form.order)
        for begin in fitting[:_TRIES]:
            if np.array_equal(data[begin : begin + size], piece):
                yield form.number, form.order, begin, size


def _words(data: Bytes, keys: np.ndarray[Any, np.dtype[np.uint64]]) -> Iterator[tuple[int, int]]:
    """The words of some data that are keys, and where they begin."""
    words = data[: len(data) // _KEY * _KEY].view(np.uint64)
    # Most words are told from all keys by two of their bytes.
    seen = np.zeros(1 << 16, dtype=bool)
    seen[(keys & 0xFFFF).astype(np.int64)] = True
    for first in range(0, len(words), _CHUNK):
        chunk = words[first : first + _CHUNK]
        near = np.flatnonzero(seen[(chunk & 0xFFFF).astype(np.uint16)])
        for place in (first + near[np.isin(chunk[near], keys)]).tolist():
            yield int(words[place]), place * _KEY


_TRIES = 64
"""Places at which a weight is looked for, whose numbers may be those of many."""


def _without_overlaps(pieces: Iterator[Any]) -> list[tuple[int, tuple[int, ...], int, int]]:
    kept: list[tuple[int, tuple[int, ...], int, int]] = []
    for piece in sorted(pieces, key=lambda item: (item[2], -item[3])):
        if not kept or piece[2] >= kept[-1][2] + kept[-1][3]:
            kept.append(piece)
    return kept


def _forms(weights: Sequence[torch.Tensor]) -> Iterator[_Form]:
    seen = set()
    for number, weight in enumerate(weights):
        size = weight.numel() * weight.element_size()
        plain = type(weight) in (torch.Tensor, torch.nn.Parameter) and weight.layout is torch.strided
        if not plain or weight.is_meta or weight.is_quantized or size < _LEAST or view_key(weight) in seen:
            continue
        seen.add(view_key(weight))
        for order in (tuple(range(weight.dim())), *_ORDERS.get(weight.dim(), ())):
            found = _key(weight, order)
            if found is not None:
                yield _Form(number, order, *found)


def _key(weight: torch.Tensor, order: Sequence[int]) -> tuple[int, int] | None:
    """Some bytes of a weight in an order of its dimensions that are not all the same, and where they are in it."""
    size = weight.element_size()
    each = max(1, _KEY // size)
    shape = [weight.shape[dim] for dim in order]
    for part in range(8):
        first = part * (weight.numel() // 8) // each * each
        places = np.unravel_index(np.arange(first, min(first + each, weight.numel())), shape)
        by_dim = dict(zip(order, places, strict=True))
        index = tuple(torch.as_tensor(by_dim[dim], device=weight.device) for dim in range(weight.dim()))
        data = _flat(weight.detach()[index])[:_KEY]
        if len(data) == _KEY and len(np.unique(data)) > 2:
            return int(data.view(np.uint64)[0]), first * size
    return None


def _bytes(weight: torch.Tensor, order: Sequence[int]) -> Bytes:
    """The bytes of a weight in an order of its dimensions; its own memory where that is so."""
    return _flat(weight.detach().permute(list(order)))


def _flat(tensor: torch.Tensor) -> Bytes:
    dense = tensor.resolve_conj().resolve_neg().cpu().contiguous()
    found: Bytes = dense.as_strided((dense.numel(),), (1,)).view(torch.uint8).numpy()
    return found
