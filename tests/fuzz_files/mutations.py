"""Mutations of files: of bytes, of fields of the JSON in them (also that inside of texts), and of archive members."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from .canary import CALL, MODULE

MAGIC = b"trt-passes engine\n"

Members = list[tuple[str, bytes]]


class Bomb:
    """Its pickle runs the payload when it is read."""

    def __reduce__(self) -> Any:
        return eval, (CALL,)


# --- bytes -----------------------------------------------------------------------------------------------------------
def damaged(data: bytes, random: Random) -> bytes:
    """The bytes with a few of them changed, missing, doubled or moved."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 5, 20))):
        if not changed:
            break
        start = random.choice((random.randrange(len(changed)), max(len(changed) - 1 - random.randrange(300), 0)))
        length = min(random.choice((1, 1, 2, 4, 8, 64, 1000)), len(changed) - start)
        kind = random.randrange(6)
        if kind == 0:
            changed[start] ^= 1 << random.randrange(8)
        elif kind == 1:
            changed[start : start + length] = random.randbytes(length)
        elif kind == 2:
            del changed[start : start + length]
        elif kind == 3:
            changed[start:start] = changed[start : start + length]
        elif kind == 4:
            changed[start : start + length] = random.choice((b"\xff", b"\0")) * length
        else:
            del changed[start:]
    return bytes(changed)


# --- JSON ------------------------------------------------------------------------------------------------------------
PAYLOADS = (
    *(CALL, f"x, zz={CALL}", f"x = {CALL}; y", f'a"), {CALL}, ("b', f"a'), {CALL}, ('b", f"s0 + {CALL}", f"({CALL})"),
    *(f"Symbol('s77', positive=True, integer=True) + {CALL}", f"Symbol({CALL})", f"x\n    {CALL}", f"*{CALL}, x"),
    *("torch.os.system", "torch.load", "torch.hub.load", "_operator.methodcaller", "_operator.call", "math.os.system"),
    *("torch.ops.aten.from_file.default", "torch.ops.aten.save.default", "torch.ops.higher_order.flat_apply"),
    *("aten::from_file.default", "aten::save.default", "higher_order::print", "prim::Print.default", "#x:y"),
    *("__class__", "self", "lambda", "torch", "inputs", "shapes", "_exact", "", " ", "\0", "a.b.c", "../../x", "/etc"),
    *("9**9**9**9", "PowByNatural(9, PowByNatural(9, 99))", "s0//0", "s0" * 300, "(" * 300, "u999999999999", "cuda:7"),
    json.dumps({"__enum__": True, "fqn": f"{MODULE}:c", "name": "x"}),
    json.dumps([1, {"type": None, "context": None, "children_spec": []}]),
)
"""Texts that want to be code, operators, files, or too much."""


def json_damaged(text: bytes, random: Random) -> bytes:
    """A JSON text with a field or two changed: to another type, to a payload, to what another field has."""
    value = json.loads(text)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        value = _changed(value, random)
    result = json.dumps(value)
    kind = random.randrange(20)
    if kind == 0:
        result = result.replace('": ', '": 0, "x": ', 1)
    elif kind == 1:
        keys = re.findall(r'"(\w+)": ', result)
        key = random.choice(keys) if keys else "x"
        result = result.replace(f'"{key}": ', f'"{key}": {json.dumps(random.choice(PAYLOADS))}, "{key}": ', 1)
    elif kind == 2:
        depth = random.choice((50, 500, 5000, 100_000))
        result = result.replace("[", "[" * depth, 1).replace("]", "]" * depth, 1)
    return result.encode()


def _changed(value: Any, random: Random) -> Any:
    places = list(_places(value))
    if not places:
        return _other(value, random, [])
    holder, key = random.choice(places)
    kind = random.randrange(8)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder, dict):
        holder[random.choice(PAYLOADS)] = holder.pop(key)
    elif kind == 2 and isinstance(holder, list):
        holder.insert(random.randrange(len(holder) + 1), holder[key])
    else:
        holder[key] = _other(holder[key], random, places)
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        keys = list(item) if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else ()
        for key, child in [(key, item[key]) for key in keys]:
            yield item, key
            waiting.append(child)


def _other(value: Any, random: Random, places: list[tuple[Any, Any]]) -> Any:
    if isinstance(value, str) and value[:1] in ("{", "[") and random.random() < 0.8:
        try:
            return json_damaged(value.encode(), random).decode()
        except ValueError:
            return random.choice(PAYLOADS)
    kind = random.randrange(8)
    if kind < 4 and isinstance(value, str):
        if kind == 0 and value:
            cut = random.randrange(len(value))
            return value[:cut] + random.choice(PAYLOADS) + value[cut:]
        return random.choice(PAYLOADS)
    if kind < 6 and places:
        holder, key = random.choice(places)
        # Not a part of itself, which no text could hold.
        return json.loads(json.dumps(holder[key])) if _small(holder[key]) else None
    numbers = (0, 1, -1, 2, 7, 2**31, 2**63, -(2**63), 10**30, 10**9, 1e308, 0.5, float("nan"), float("inf"))
    return random.choice((None, True, False, [], {}, [[]], {"node": "x"}, [1, 2], random.choice(PAYLOADS), *numbers))


def _small(value: Any) -> bool:
    return not isinstance(value, dict | list) or len(json.dumps(value, default=str)) < 10_000


# --- archives --------------------------------------------------------------------------------------------------------
def members_of(data: bytes) -> Members:
    """Names and contents, in order."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(info.filename, archive.read(info)) for info in archive.infolist()]


def archive_of(members: Members, random: Random, compressed: bool = False) -> bytes:
    """An archive; sometimes with other bytes around it."""
    buffer = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of members that are there twice
        with zipfile.ZipFile(buffer, "w", kind) as archive:
            for name, content in members:
                archive.writestr(name, content)
            if random.random() < 0.02:
                archive.comment = b"PK\5\6" + bytes(18)
    return buffer.getvalue()


def member_damaged(members: Members, random: Random) -> Members:
    """The bytes of a member changed, with the right checksum."""
    index = random.randrange(len(members))
    name, content = members[index]
    return [*members[:index], (name, damaged(content, random)), *members[index + 1 :]]


def fields_damaged(members: Members, random: Random) -> Members:
    """Fields of a JSON member changed; what counts its bytes is kept right."""
    texts = [index for index, (_, content) in enumerate(members) if content[:1] in (b"{", b"[")]
    index = random.choice(texts)
    name, content = members[index]
    changed = json_damaged(content, random)
    result = [*members[:index], (name, changed), *members[index + 1 :]]
    if name.endswith(".json"):
        return result
    # The graph of a segment is a constant, whose size stands in two places.
    old, new = (b'"as_int": %d}' % len(text) for text in (content, changed))
    return [(label, text.replace(old, new) if label.endswith(".json") else text) for label, text in result]


def members_changed(members: Members, random: Random) -> Members:
    """Members left out, doubled, renamed, exchanged, or new ones that hold pickles."""
    result = list(members)
    root = members[0][0].partition("/")[0]
    for _ in range(random.choice((1, 1, 2))):
        index, other = random.randrange(len(result)), random.randrange(len(result))
        name, content = result[index]
        kind = random.randrange(8)
        if kind == 0:
            del result[index]
        elif kind == 1:
            result.append((random.choice((name, name.upper())), random.choice((content, b"", pickle.dumps(Bomb())))))
        elif kind == 2:
            result[index] = (result[other][0], content)
        elif kind == 3:
            result[index], result[other] = (name, result[other][1]), (result[other][0], content)
        elif kind == 4:
            names = ("../x", "x", f"other/{name}", f"{name}x", f"{root}/data/../x", "/x")
            result[index] = (random.choice(names), content)
        else:
            result.append((f"{root}/{random.choice(_ADDED)}", random.choice((pickle.dumps(Bomb()), _torch_bomb()))))
            if kind > 5:
                result = [_referring(*item) for item in result]
        if not result:
            break
    return result


_ADDED = (
    *("data/weights/model.pt", "data/constants/model.pt", "data/sample_inputs/model.pt", "data/constants/opaque_obj_0"),
    *("data/constants/custom_obj_0", "data/aotinductor/model/model.so", "version", "serialized_state_dict.pt"),
    *("models/other.json", "data/weights/weight_0", "data/weights/weight_99", "extra/x", "constants.pkl", "data.pkl"),
)


def _referring(name: str, content: bytes) -> tuple[str, bytes]:
    """The lists of weights and constants, referring to what was added."""
    if not name.endswith("_config.json"):
        return name, content
    content = content.replace(b'"use_pickle": false', b'"use_pickle": true', 1)
    return name, content.replace(b'"tensor_0"', b'"opaque_obj_0"').replace(b'"weight_0"', b'"weight_99"')


def _torch_bomb() -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(Bomb(), buffer)
    return buffer.getvalue()


def engine_damaged(data: bytes, random: Random) -> bytes:
    """The header of a cached engine changed, with the right checksum."""
    rest = data[len(MAGIC) + 32 :]
    length = int.from_bytes(rest[:8], "little")
    header = json_damaged(rest[8 : 8 + length], random)
    rest = len(header).to_bytes(8, "little") + header + rest[8 + length :]
    return MAGIC + hashlib.sha256(rest).digest() + rest


ARCHIVES: dict[str, Callable[[Members, Random], Members]] = {
    "bytes of a member": member_damaged,
    "JSON fields": fields_damaged,
    "members": members_changed,
}


def mutated(data: bytes, random: Random) -> tuple[str, bytes]:
    """A file mutated in one way, and which it was."""
    if random.random() < 0.15:
        return "bytes of the file", damaged(data, random)
    if data.startswith(MAGIC):
        return "JSON fields", engine_damaged(data, random)
    if data.startswith(b"{"):
        return "JSON fields", json_damaged(data, random)
    kind = random.choice(("bytes of a member", "JSON fields", "JSON fields", "JSON fields", "members"))
    return kind, archive_of(ARCHIVES[kind](members_of(data), random), random, compressed=random.random() < 0.02)
