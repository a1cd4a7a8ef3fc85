"""Files that were made to run something: none of them may, whichever way they are read."""

import io
import json
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn
from torch.export import Dim
from torch.utils import _pytree as pytree
from trt_passes.compiler.errors import UserError
from trt_passes.compiler.frontends.load_model import load_model
from trt_passes.compiler.runtime.saving.expression_check import check_expression

from tests.compiler.runtime.handmade import spliced

Change = Callable[[str, bytes], bytes | None]


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor, *, scale: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"y": torch.sort(torch.relu(self.a(x)))[0] * scale}


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved model."""
    path = tmp_path_factory.mktemp("honest") / "model.pt2"
    shapes = {"x": {0: Dim("n", min=1, max=9)}, "scale": None}
    kwargs = {"scale": torch.tensor(2.0)}
    module = spliced(Model(), (torch.ones(3, 4),), lambda n: "sort" not in n.name, kwargs=kwargs, dynamic_shapes=shapes)
    tp.save(module, path)
    return path


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that was not compiled."""
    path = tmp_path_factory.mktemp("program") / "model.pt2"
    shapes = ({0: Dim("n", min=1, max=9)},)
    torch.export.save(torch.export.export(nn.Linear(4, 4), (torch.ones(3, 4),), dynamic_shapes=shapes), path)
    return path


def rewritten(source: Path, target: Path, change: Change, extra: dict[str, bytes] | None = None) -> Path:
    """The archive with members changed (None leaves one out) and others added."""
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(target, "w") as after:
        root = before.namelist()[0].partition("/")[0]
        for item in before.infolist():
            content = change(item.filename, before.read(item))
            if content is not None:
                after.writestr(item.filename, content)
        for name, content in (extra or {}).items():
            after.writestr(f"{root}/{name}", content)
    return target


def same(name: str, content: bytes) -> bytes:
    return content


def in_program(old: str, new: str) -> Change:
    """Replaces a JSON text in the program, wherever it is a whole value."""

    def change(name: str, content: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return content
        before, after = json.dumps(old).encode(), json.dumps(new).encode()
        assert before in content
        return content.replace(before, after)

    return change


class Bomb:
    """Its pickle makes a file when it is read."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> Any:
        return Path.touch, (self.place,)


RUN = "__import__('pathlib').Path('{}').touch()"
SIZE = "Symbol('s77', positive=True, integer=True)"


def attacks(place: Path) -> dict[str, tuple[Change, dict[str, bytes]]]:
    run = RUN.format(place)
    bomb = io.BytesIO()
    torch.save(Bomb(place), bomb)
    sort = "torch.ops.aten.sort.default"

    def samples(name: str, content: bytes) -> bytes:
        return bomb.getvalue() if name.endswith("sample_inputs/model.pt") else content

    def weight(name: str, content: bytes) -> bytes:
        if name.endswith("model_weights_config.json"):
            return content.replace(b'"use_pickle": false', b'"use_pickle": 1', 1)
        return bomb.getvalue() if name.endswith("weight_0") else content

    def constant(name: str, content: bytes) -> bytes:
        return content.replace(b'"tensor_0"', b'"opaque_obj_0"') if name.endswith("constants_config.json") else content

    def formula(name: str, content: bytes) -> bytes:
        changed = re.sub(rb"(?=Symbol\()", f"{run} or ".encode(), content)
        return changed if name.endswith("models/model.json") else content

    sizes: list[tuple[bytes, bytes]] = []

    def label(name: str, content: bytes) -> bytes:
        if content.startswith(b'{"nodes"'):
            changed = content.replace(b'["x"]', f'["x, zz={run}"]'.encode())
            sizes.append((b'"as_int": %d}' % len(content), b'"as_int": %d}' % len(changed)))
            return changed
        for before, after in sizes if name.endswith(".json") else ():
            content = content.replace(before, after)
        return content

    def defaultdict(module: str) -> Change:
        context = {"default_factory_module": module, "default_factory_name": "x", "dict_context": ["y"]}
        spec = {"type": "collections.defaultdict", "context": context, "children_spec": [_LEAF]}
        return out_spec(spec)

    return {
        "a formula": (formula, {}),
        "a formula that hides it": (in_program(SIZE, f"Symbol('s77').func.__init__.__globals__[{run}]"), {}),
        "a name": (in_program("x", f"x, zz={run}"), {}),
        "a keyword": (in_program("scale", f"scale={run}"), {}),
        "a module's name": (in_program("a.weight", f'a"), {run}, ("weight'), {}),
        "a function": (in_program(sort, "torch.os.system"), {}),
        "a function of operator": (in_program(sort, "_operator.methodcaller"), {}),
        "an operator that opens files": (in_program(sort, "torch.ops.aten.from_file.default"), {}),
        "an operator of TorchScript": (in_program(sort, "torch.ops.aten.save.default"), {}),
        "an operator that calls back": (in_program(sort, "torch.ops.higher_order.flat_apply"), {}),
        "an operator of another kind": (in_program(sort, "torch.ops.profiler._record_function_enter.default"), {}),
        "sample inputs": (samples, {}),
        "a pickled weight": (weight, {}),
        "a pickled constant": (constant, {"data/constants/opaque_obj_0": pickle.dumps(Bomb(place))}),
        "weights as they were": (same, {"data/weights/model.pt": bomb.getvalue()}),
        "weights in other letters": (same, {"data/weights/WEIGHT_0": bomb.getvalue()}),
        "compiled code": (same, {"data/aotinductor/model/model.so": b"\x7fELF"}),
        "a container that imports": (defaultdict("this"), {}),
        "a key that imports": (out_spec(_dict([{"__enum__": True, "fqn": "this:c", "name": "x"}])), {}),
        "a label of a segment": (label, {}),
    }


_LEAF = {"type": None, "context": None, "children_spec": []}


def _dict(keys: list[Any]) -> dict[str, Any]:
    return {"type": "builtins.dict", "context": json.dumps(keys), "children_spec": [_LEAF]}


def out_spec(spec: dict[str, Any]) -> Change:
    def change(name: str, content: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return content
        data = json.loads(content)
        data["graph_module"]["module_call_graph"][0]["signature"]["out_spec"] = json.dumps([1, spec])
        return json.dumps(data).encode()

    return change


@pytest.mark.parametrize("attack", attacks(Path("x")))
def test_a_saved_model_runs_nothing_when_it_is_read(attack: str, honest: Path, tmp_path: Path) -> None:
    place = tmp_path / "ran"
    change, extra = attacks(place)[attack]
    target = rewritten(honest, tmp_path / "model.pt2", change, extra)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError, match=r"^\S+model.pt2 (is damaged|could run|cannot be used)") as caught:
            tp.load(target)
    assert "\n" not in str(caught.value)
    assert not place.exists()


@pytest.mark.parametrize("attack", ["a formula", "a pickled weight", "sample inputs", "weights as they were"])
def test_a_program_for_the_command_line_runs_nothing_either(attack: str, program: Path, tmp_path: Path) -> None:
    place = tmp_path / "ran"
    assert load_model(str(program)).has_inputs
    change, extra = attacks(place)[attack]
    target = rewritten(program, tmp_path / "model.pt2", change, extra)
    with pytest.raises(UserError, match=r"model.pt2 (is not a program|could run any code .*: pass --trust)"):
        load_model(str(target))
    assert not place.exists()


def test_a_program_that_is_trusted_is_read_whatever_it_holds(program: Path, tmp_path: Path) -> None:
    place = tmp_path / "ran"
    change, extra = attacks(place)["sample inputs"]
    target = rewritten(program, tmp_path / "model.pt2", change, extra)
    with pytest.raises(UserError, match="is not a program"):
        load_model(str(target), trust=True)  # what is pickled there is no example
    assert place.exists()
    assert load_model(str(program), trust=True).has_inputs


def test_guards_of_a_program_are_not_put_into_code(program: Path, tmp_path: Path) -> None:
    place = tmp_path / "ran"

    def change(name: str, content: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return content
        return json.dumps({**json.loads(content), "guards_code": [RUN.format(place)]}).encode()

    with pytest.raises(UserError, match="which is no condition on sizes"):
        load_model(str(rewritten(program, tmp_path / "model.pt2", change)))
    assert not place.exists()


def test_trust_reads_pickles(honest: Path, tmp_path: Path) -> None:
    place = tmp_path / "ran"
    change, extra = attacks(place)["weights as they were"]
    target = rewritten(honest, tmp_path / "model.pt2", change, extra)
    with pytest.raises(UserError, match=r"if you trust whoever made it, pass trust=True"):
        tp.load(target)
    with pytest.raises(UserError):
        tp.load(target, trust=True)  # what is in it is no dictionary of weights
    assert place.exists()


def test_what_was_read_with_trust_is_the_same(honest: Path) -> None:
    x, scale = torch.ones(2, 4), torch.tensor(3.0)
    expected = tp.load(honest)(x, scale=scale)["y"]
    torch.testing.assert_close(tp.load(honest, trust=True)(x, scale=scale)["y"], expected)


def test_what_pytorch_would_pickle_is_not_written(tmp_path: Path) -> None:
    module = spliced(Model(), (torch.ones(3, 4),), lambda n: "sort" not in n.name, kwargs={"scale": torch.tensor(2.0)})
    exported = module.meta["trt_passes_exported"]
    exported.constants["extra"] = torch._C.ScriptObject.__new__(torch._C.ScriptObject)
    with pytest.raises(UserError, match="extra is a ScriptObject, which PyTorch can only pickle"):
        tp.save(module, tmp_path / "model.pt2")
    assert not list(tmp_path.iterdir())


# --- layout of the archive -------------------------------------------------------------------------------------------
def refused(target: Path) -> str:
    with pytest.raises(UserError, match=r"damaged|no \.pt2 file|could run") as caught:
        tp.load(target)
    return str(caught.value)


def test_two_lists_of_members_are_damage(honest: Path, tmp_path: Path) -> None:
    target = tmp_path / "model.pt2"
    data = honest.read_bytes()
    target.write_bytes(data + data)  # readers differ in which of the two they take
    assert "model.pt2" in refused(target)
    target.write_bytes(data[:-2] + struct.pack("<H", 4) + b"note")
    assert "its end is no end of an archive" in refused(target)


def test_members_that_are_there_twice_are_damage(honest: Path, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile tells of the duplicate
        target = rewritten(honest, tmp_path / "model.pt2", same, {"data/weights/weight_0": b"other"})
    assert "members have the same name" in refused(target)


def test_compressed_members_are_damage(honest: Path, tmp_path: Path) -> None:
    target = tmp_path / "model.pt2"
    with zipfile.ZipFile(honest) as before, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as after:
        for item in before.infolist():
            after.writestr(item.filename, before.read(item))
        after.writestr("archive/data/weights/weight_9", bytes(1 << 24))
    assert "is compressed or encrypted" in refused(target)


@pytest.mark.parametrize("name", ["../outside", "a\\b", "elsewhere/extra/x", "extra/ä"])
def test_members_elsewhere_are_damage(name: str, honest: Path, tmp_path: Path) -> None:
    target = rewritten(honest, tmp_path / "model.pt2", same, {name: b""})
    assert "model.pt2" in refused(target)


def test_weights_of_any_size_without_contents_are_damage(honest: Path, tmp_path: Path) -> None:
    def change(name: str, content: bytes) -> bytes:
        return b"" if name.endswith("weight_0") else content

    assert "weight_0 is empty" in refused(rewritten(honest, tmp_path / "model.pt2", change))


def test_keys_that_are_there_twice_and_deep_nesting_are_damage(honest: Path, tmp_path: Path) -> None:
    for content, words in ((b'{"a": 1, "a": 2}', "'a' is there twice"), (b"[" * 100_000, "nested too deep")):

        def change(name: str, before: bytes, content: bytes = content) -> bytes:
            return content if name.endswith("models/model.json") else before

        assert words in refused(rewritten(honest, tmp_path / "model.pt2", change))


def test_symbols_with_enormous_numbers_are_damage(honest: Path, tmp_path: Path) -> None:
    def change(name: str, content: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return content
        data = json.loads(content)
        data["range_constraints"]["u99999999999"] = {"min_val": 0, "max_val": 1}
        return json.dumps(data).encode()

    assert "'u99999999999' is no symbol" in refused(rewritten(honest, tmp_path / "model.pt2", change))


# --- formulas --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text",
    [
        SIZE,
        f"Add(Mul(Integer(2), {SIZE}), Integer(-1))",
        f"FloorDiv({SIZE}, Integer(2))",
        f"Max(Integer(1), Mul(Rational(1, 2), Pow({SIZE}, Integer(2))))",
        f"Equality({SIZE}, Integer(3))",
        "Symbol('u0', integer=True)",
        "2*s0 + 1",
        "Float('0.5', precision=53)",
        f"PowByNatural(Integer(2), {SIZE})",
    ],
)
def test_formulas_of_sizes_pass(text: str) -> None:
    check_expression(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "os", "__import__('os')", "Symbol('s0').func", "Symbol('__class__')", "(lambda: 1)()", "[s0]", "'s0'"),
        *("9**9**9", "Pow(Integer(9), Pow(Integer(9), Integer(99)))", "Integer(9)**Integer(999999)", "Symbol", "S"),
        *("Symbol('x' if s0 else 'y')", "Symbol(name='__x__')", "Function('f')(s0)", "open('x1')", "s0;s1", "(" * 900),
        *("PowByNatural(Integer(2), Mul(Integer(64), Integer(64)))", 'Symbol("x")', "Symbol('s0', real=s0)", 5, None),
    ],
)
def test_what_is_no_formula_is_refused(text: Any) -> None:
    with pytest.raises(ValueError, match="is no size"):
        check_expression(text)


def test_names_of_containers_that_the_process_knows_pass(tmp_path: Path) -> None:
    class Grouped(nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            import collections

            return collections.OrderedDict(y=torch.relu(x), z=[x + 1, (x * 2, None)])

    path = tmp_path / "model.pt2"
    tp.save(spliced(Grouped(), (torch.ones(2),), lambda node: True), path)
    leaves = pytree.tree_leaves(tp.load(path)(torch.ones(2)))
    assert [leaf.tolist() for leaf in leaves if leaf is not None] == [[1, 1], [2, 2], [2, 2]]


@pytest.mark.parametrize("name", ["it's", "two words", "0", "ü", "{x}"])
def test_strange_names_of_modules_are_read_again(name: str, tmp_path: Path) -> None:
    model, x = nn.Sequential(), torch.ones(2, 4)
    model.add_module(name, nn.Linear(4, 4))
    tp.save(spliced(model, (x,), lambda node: True), tmp_path / "model.pt2")
    torch.testing.assert_close(tp.load(tmp_path / "model.pt2")(x), model(x))
