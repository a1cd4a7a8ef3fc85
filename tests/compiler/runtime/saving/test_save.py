import copy
import io
import json
import os
import struct
import subprocess
import sys
import time
import warnings
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import Any, BinaryIO

import pytest
import torch
import trt_passes as tp
from torch import nn
from torch.export import Dim
from torch.fx import GraphModule
from torch.utils import _pytree as pytree
from trt_passes.compiler.errors import UserError
from trt_passes.compiler.runtime.engine_graph import segments_of
from trt_passes.compiler.runtime.options import RuntimeOptions
from trt_passes.compiler.runtime.options_in_graph import options_in
from trt_passes.compiler.runtime.save import load
from trt_passes.compiler.runtime.saving import save as save_module
from trt_passes.compiler.runtime.saving.save import save

from tests.compiler.runtime.handmade import spliced


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = torch.nn.Linear(4, 300), torch.nn.Linear(300, 4)
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: torch.Tensor, *, scale: torch.Tensor) -> dict[str, torch.Tensor]:
        self.calls.add_(1)
        y = torch.sort(torch.relu(self.a(x)))[0]
        return {"y": self.b(y) * scale + self.calls}


SCALE = torch.tensor(2.0)


def compiled(executor: str = "pytorch") -> GraphModule:
    def in_trt(node: torch.fx.Node) -> bool:
        return "sort" not in node.name and not node.name.startswith("getitem")

    torch.manual_seed(0)
    shapes = {"x": {0: Dim("n", min=1, max=9)}, "scale": None}
    return spliced(
        Model(), (torch.randn(3, 4),), in_trt, kwargs={"scale": SCALE}, dynamic_shapes=shapes, executor=executor
    )


@torch.no_grad()
def test_weights_that_engines_no_longer_have_are_not_saved(tmp_path: Path) -> None:
    model = nn.Linear(4, 4).eval()
    module = tp.compile(model, [torch.randn(3, 4)], min_block_size=1, executor="pytorch").to("cpu")
    save(module, tmp_path / "before.pt2")
    model.weight.mul_(2)
    for changed in (module, module.to("cpu"), copy.deepcopy(module)):
        with pytest.raises(UserError, match="weight was written to since the engines were built"):
            save(changed, tmp_path / "after.pt2")
    assert [path.name for path in tmp_path.iterdir()] == ["before.pt2"]


def test_a_loaded_program_gives_the_same_answers(tmp_path: Path) -> None:
    module = compiled()
    save(module, tmp_path / "model.pt2")
    loaded = load(tmp_path / "model.pt2")
    for size in (1, 3, 9):
        x = torch.randn(size, 4)
        torch.testing.assert_close(loaded(x, scale=SCALE), module(x, scale=SCALE))
    assert list(segments_of(loaded)) == ["segment_00", "segment_01"]


def test_threads_that_load_take_turns(tmp_path: Path) -> None:
    save(compiled(), tmp_path / "model.pt2")
    started = Barrier(4)

    def loaded(_: int) -> list[str]:
        started.wait()
        return list(segments_of(load(tmp_path / "model.pt2")))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(loaded, range(4))) == [["segment_00", "segment_01"]] * 4


def test_a_default_device_changes_nothing(tmp_path: Path) -> None:
    made, x = compiled(), torch.randn(3, 4)
    with torch.device("meta"):
        save(made, tmp_path / "model.pt2")
        module = load(tmp_path / "model.pt2")
        assert {tensor.device.type for tensor in (*module.parameters(), *module.buffers())} == {"cpu"}
        assert module(x, scale=SCALE)["y"].device.type == "cpu"


def test_what_was_loaded_in_inference_mode_runs_outside_of_it(tmp_path: Path) -> None:
    module, x = compiled(), torch.randn(3, 4)
    save(module, tmp_path / "model.pt2")
    with torch.inference_mode():
        loaded = load(tmp_path / "model.pt2")
        first = loaded(x, scale=SCALE)
    torch.testing.assert_close(loaded(x, scale=SCALE)["y"], first["y"] + 1)


@pytest.mark.parametrize("flags", ["conjugated", "negated"])
def test_what_is_only_noted_to_be_conjugated_or_negated_is_written_so(flags: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    values = torch.randn(4, dtype=torch.complex64).conj()

    class Rotated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("angles", values if flags == "conjugated" else values.imag)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = torch.relu(x) * self.angles
            return y.imag if y.is_complex() else y

    x = torch.ones(3, 4)
    save(spliced(Rotated(), (x,), lambda node: "relu" in node.name), tmp_path / "model.pt2")
    torch.testing.assert_close(load(tmp_path / "model.pt2", executor="pytorch")(x), Rotated()(x))


def test_torch_export_load_reads_it_too(tmp_path: Path) -> None:
    module = compiled()
    save(module, tmp_path / "model.pt2")
    script = (
        "import sys, torch, warnings; warnings.simplefilter('ignore'); import trt_passes.compiler.runtime.operator\n"
        "module = torch.export.load(sys.argv[1]).module()\n"
        "print(module(torch.ones(2, 4), scale=torch.tensor(2.0))['y'].sum().item())"
    )
    out = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "model.pt2"], capture_output=True, text=True, check=True
    )
    assert float(out.stdout) == pytest.approx(float(module(torch.ones(2, 4), scale=SCALE)["y"].sum()), rel=1e-4)


def test_weights_are_stored_once(tmp_path: Path) -> None:
    module = compiled()
    save(module, tmp_path / "model.pt2")
    with zipfile.ZipFile(tmp_path / "model.pt2") as archive:
        big = [info for info in archive.infolist() if info.file_size == 300 * 4 * 4]
        pickles = [name for name in archive.namelist() if name.endswith(".pkl")]
    assert len(big) == 2
    assert not pickles


def test_the_file_is_the_same_wherever_it_is_written(tmp_path: Path) -> None:
    module = compiled()
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        save(module, tmp_path / folder / "model.pt2")
    names = [zipfile.ZipFile(tmp_path / folder / "model.pt2").namelist() for folder in ("a", "b")]
    assert names[0] == names[1]


def test_what_changed_since_is_saved(tmp_path: Path) -> None:
    module = compiled()
    module.calls.add_(7)
    x = torch.ones(2, 4)
    module(x, scale=SCALE)
    save(module, tmp_path / "model.pt2")
    torch.testing.assert_close(load(tmp_path / "model.pt2")(x, scale=SCALE), module(x, scale=SCALE))


def test_nothing_warns_on_the_way(tmp_path: Path) -> None:
    module = compiled()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save(module, tmp_path / "model.pt2")
        load(tmp_path / "model.pt2")(torch.randn(3, 4), scale=SCALE)


def test_report_and_executor_are_saved(tmp_path: Path) -> None:
    module = compiled()
    module.report = SimpleNamespace(to_json=lambda: {"schema": 1, "verdicts": {"trt": 3}})
    save(module, tmp_path / "model.pt2")
    loaded = load(tmp_path / "model.pt2")
    assert loaded.report == {"schema": 1, "verdicts": {"trt": 3}}
    assert {segment.executor for segment in segments_of(loaded).values()} == {"pytorch"}
    save(loaded, tmp_path / "again.pt2")
    assert load(tmp_path / "again.pt2", executor="auto").report == loaded.report
    assert segments_of(load(tmp_path / "again.pt2", executor="auto"))["segment_00"].executor == "auto"


@pytest.mark.parametrize("format", ["exported_program", "torchscript"])
def test_engines_keep_their_options_without_tp_load(format: str, tmp_path: Path) -> None:
    def read(executor: str) -> Callable[..., Any]:
        save(compiled(executor), tmp_path / "model.pt2", format)
        if format == "torchscript":
            return torch.jit.load(tmp_path / "model.pt2")  # type: ignore[no-any-return, no-untyped-call]
        return torch.export.load(tmp_path / "model.pt2").module()

    x = torch.ones(2, 4)
    with pytest.raises((UserError, RuntimeError), match="executor='tensorrt' cannot run"):
        read("tensorrt")(x, scale=SCALE)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        read("pytorch")(x, scale=SCALE)
    with pytest.warns(RuntimeWarning, match="TensorRT engines run in PyTorch here"):
        read("auto")(x, scale=SCALE)


def test_saving_changes_nothing_in_the_module(tmp_path: Path) -> None:
    module = compiled()
    before = str(module.graph)
    for name in ("model.pt2", "model.ts", "again.pt2"):
        save(module, tmp_path / name)
        assert str(module.graph) == before
    loaded = load(tmp_path / "again.pt2", executor="auto")
    save(loaded, tmp_path / "auto.pt2")
    assert '"executor":"auto"' in str(load(tmp_path / "auto.pt2").graph).replace("\\", "")


def test_options_of_engines_are_what_was_written_or_none() -> None:
    text = segments_of(compiled())["segment_00"].spec_text
    assert options_in(text) == RuntimeOptions()
    for wrong in ({"runtime_cache_path": "x"}, ["executor"]):
        with pytest.raises(UserError, match="options of an engine are damaged"):
            options_in(json.dumps({**json.loads(text), "options": wrong}))


def test_a_loaded_module_shows_itself_in_a_notebook(tmp_path: Path) -> None:
    module = tp.compile(nn.Linear(4, 4).eval(), [torch.randn(3, 4)], min_block_size=1, executor="pytorch")
    save(module, tmp_path / "model.pt2")
    assert "compiled module" in load(tmp_path / "model.pt2")._repr_mimebundle_()["text/plain"]


def test_the_reference_executor_is_not_saved(tmp_path: Path) -> None:
    save(compiled("reference"), tmp_path / "model.pt2")
    assert segments_of(load(tmp_path / "model.pt2"))["segment_00"].executor == "auto"
    with pytest.raises(UserError, match=r"'reference'.*process that compiled"):
        load(tmp_path / "model.pt2", executor="reference")


def test_only_compiled_modules_can_be_saved(tmp_path: Path) -> None:
    for other in (torch.nn.Linear(1, 1), torch.fx.symbolic_trace(torch.nn.ReLU())):
        with pytest.raises(UserError, match="only a compiled module can be saved"):
            save(other, tmp_path / "model.pt2")
    dry = tp.compile(nn.ReLU().eval(), [torch.ones(1)], dryrun=True)
    for module, words in ((dry, "compile without dryrun"), (torch.compile(nn.ReLU()), "with ir='dynamo'")):
        with pytest.raises(UserError, match=words):
            save(module, tmp_path / "model.pt2")
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot write"):
        save(compiled(), tmp_path / "missing" / "model.pt2")


def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "model.pt2"
    target.write_bytes(b"before")

    def full(exported: object, file: BinaryIO, **kwargs: object) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch.export, "save", full)
    with pytest.raises(UserError, match="No space left on device"):
        save(compiled(), target)
    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]


def test_what_an_ended_process_left_is_removed(tmp_path: Path) -> None:
    old, new, foreign = (tmp_path / f".writing-{name}" for name in ("0" * 16, "1" * 16, "notes"))
    for path in (old, new, foreign):
        path.write_bytes(b"half")
    for path in (old, foreign):
        os.utime(path, (time.time() - 7200,) * 2)
    save(compiled(), tmp_path / "model.pt2")
    assert {path.name for path in tmp_path.iterdir()} == {new.name, foreign.name, "model.pt2"}


@pytest.mark.parametrize("format", ["exported_program", "torchscript"])
def test_a_symbolic_link_stays_one(format: str, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "far" / "model.pt2")
    for _ in range(2):
        save(compiled(), tmp_path / "link", format)
        assert (tmp_path / "link").is_symlink()
        assert zipfile.is_zipfile(tmp_path / "far" / "model.pt2")
    assert len(list(tmp_path.rglob("*"))) == 3


def test_any_name_will_do(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(compiled(), tmp_path / "m.pt")
    load(tmp_path / "m.pt")
    assert not [record for record in caplog.records if record.levelname == "WARNING"]
    with zipfile.ZipFile(tmp_path / "m.pt") as archive:
        assert {name.partition("/")[0] for name in archive.namelist()} == {"archive"}


@pytest.mark.parametrize("part", [0.0, 0.3, 0.7, 0.99])
def test_a_truncated_file_is_a_user_error(part: float, tmp_path: Path) -> None:
    target = tmp_path / "model.pt2"
    save(compiled(), target)
    data = target.read_bytes()
    target.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(UserError, match="truncated"):
        load(target)


@pytest.mark.parametrize("name", ["data/weights/weight_0", "data/constants/tensor_0", "models/model.json"])
def test_damage_inside_an_entry_is_found(name: str, tmp_path: Path) -> None:
    target = tmp_path / "model.pt2"
    save(compiled(), target)
    data = bytearray(target.read_bytes())
    with zipfile.ZipFile(target) as archive:
        entry = next(item for item in archive.infolist() if item.filename.endswith(name))
    # A local header has 30 bytes, of which four say how long the two fields after them are.
    lengths = data[entry.header_offset + 26 : entry.header_offset + 30]
    start = entry.header_offset + 30 + sum(struct.unpack("<HH", lengths))
    data[start + entry.file_size // 2] ^= 0x40
    target.write_bytes(data)
    with pytest.raises(UserError, match=rf"model.pt2 is damaged \(the checksum of '\S+{name}' is wrong\): copy it"):
        load(target)


@pytest.mark.parametrize(("position", "value"), [(6, 255), (8, 255), (10, 99), (34, 255), (42, 255), (46, 255)])
def test_damage_in_the_list_of_entries_is_a_user_error(position: int, value: int, tmp_path: Path) -> None:
    target = tmp_path / "model.pt2"
    save(compiled(), target)
    data = bytearray(target.read_bytes())
    with zipfile.ZipFile(target) as archive:
        data[archive.start_dir + position] = value
    target.write_bytes(data)
    with pytest.raises(UserError, match=r"model.pt2 (is|cannot)"):
        load(target)


def test_a_damaged_entry_is_a_user_error(tmp_path: Path) -> None:
    rewrite(tmp_path, "models/model.json", b"{}")
    with pytest.raises(UserError, match="cannot be read by PyTorch"):
        load(tmp_path / "changed.pt2")


def test_pytorch_logs_nothing_beside_the_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rewrite(tmp_path, ".data/version", b"99\n")
    with pytest.raises(UserError, match=r"changed.pt2 cannot be read by PyTorch \S+ \(\S+.*version.*\): save it again"):
        load(tmp_path / "changed.pt2")
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_foreign_files_are_user_errors(tmp_path: Path) -> None:
    (tmp_path / "text.pt2").write_text("hello")
    torch.export.save(torch.export.export(torch.nn.ReLU(), (torch.ones(1),)), tmp_path / "plain.pt2")
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), tmp_path / "script.ts")
    for name, words in (
        ("none.pt2", "does not exist"),
        ("", "is no file"),
        ("text.pt2", "no .pt2"),
        ("plain.pt2", "no compiled program"),
        ("script.ts", "script.ts is TorchScript: load it with torch.jit.load"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            load(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_pipes_and_devices_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt2")
    for name in (tmp_path / "pipe.pt2", "/dev/zero"):
        with pytest.raises(UserError, match="is no file"):
            tp.load(name)


@pytest.mark.parametrize("path", [None, io.BytesIO(), 3, b"model.pt2", "a\0b.pt2"])
def test_what_is_no_path_is_a_user_error(path: Any) -> None:
    for action in (lambda: save(compiled(), path), lambda: load(path)):
        with pytest.raises(UserError, match="is no path: give the name of a file"):
            action()


def test_a_newer_schema_is_a_user_error(tmp_path: Path) -> None:
    newer = {"schema": save_module.SCHEMA + 1, "something": "new"}
    rewrite(tmp_path, "extra/trt_passes.json", json.dumps(newer).encode())
    with pytest.raises(UserError, match="upgrade"):
        load(tmp_path / "changed.pt2")


@pytest.mark.parametrize("report", [b"[]", b'{"settings": 5}', b"[" * 100_000])
def test_a_report_that_is_none_is_damage(report: bytes, tmp_path: Path) -> None:
    rewrite(tmp_path, "extra/trt_passes.json", b'{"schema": 1, "options": {}, "report": %b}' % report)
    with pytest.raises(UserError, match=r"changed.pt2 is damaged \(.*, in trt_passes.json\): save it again"):
        load(tmp_path / "changed.pt2")


@dataclass
class Named:
    value: torch.Tensor


class WithContext:
    def __init__(self, value: torch.Tensor) -> None:
        self.value = value


class Returns(nn.Module):
    def __init__(self, make: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.make = make

    def forward(self, x: torch.Tensor) -> Any:
        return self.make(torch.relu(x))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (WithContext, "PyTorch cannot save this model as an exported program: Unable to serialize context"),
        (lambda y: (), "the model returns nothing, and PyTorch cannot write such programs: return None instead"),
    ],
)
def test_results_that_pytorch_cannot_write(make: Any, words: str, tmp_path: Path) -> None:
    if make is WithContext:
        pytree.register_pytree_node(
            WithContext,
            lambda item: ([item.value], object),
            lambda items, _: WithContext(*items),
            serialized_type_name="WithContext",
        )
    module = spliced(Returns(make), (torch.ones(2),), lambda node: True)
    with pytest.raises(UserError, match=words) as caught:
        save(module, tmp_path / "model.pt2")
    assert "\n" not in str(caught.value)
    assert not str(caught.value).endswith("..")
    assert not list(tmp_path.iterdir())


def test_containers_that_this_process_does_not_know_are_named(tmp_path: Path) -> None:
    torch.export.register_dataclass(Named, serialized_type_name="elsewhere.Named")
    save(spliced(Returns(Named), (torch.ones(2),), lambda node: True), tmp_path / "model.pt2")
    known = pytree.SERIALIZED_TYPE_TO_PYTHON_TYPE.pop("elsewhere.Named")
    try:
        with pytest.raises(UserError, match=r"a elsewhere\.Named, which this process does not know: import the module"):
            load(tmp_path / "model.pt2")
    finally:
        pytree.SERIALIZED_TYPE_TO_PYTHON_TYPE["elsewhere.Named"] = known
    assert isinstance(load(tmp_path / "model.pt2", executor="pytorch")(torch.ones(2)), Named)


def test_operators_of_a_library_that_was_not_imported_are_named(tmp_path: Path) -> None:
    with torch.library._scoped_library("trt_passes_test", "DEF") as library:
        library.define("twice(Tensor x) -> Tensor")
        library.impl("twice", lambda x: x + x, "CompositeExplicitAutograd")
        library._register_fake("twice", torch.empty_like)

        class Custom(nn.Module):
            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return torch.ops.trt_passes_test.twice(torch.relu(x))

        path = tmp_path / "model.pt2"
        save(spliced(Custom(), (torch.ones(2),), lambda node: node.name == "relu"), path)
        assert load(path, executor="pytorch", operators=["trt_passes_test"])(torch.ones(2)).tolist() == [2, 2]
        assert load(path, executor="pytorch", trust=True)(torch.ones(2)).tolist() == [2, 2]
        with pytest.raises(UserError, match=r"pass operators=\['trt_passes_test'\] to tp.load to allow"):
            load(path)
    lines = "import sys, trt_passes as tp\ntry: tp.load(sys.argv[1])\nexcept tp.UserError as error: print(error)"
    said = subprocess.run([sys.executable, "-c", lines, path], capture_output=True, text=True, check=True).stdout
    assert said == (
        f"{path} calls trt_passes_test.twice.default, which PyTorch {torch.__version__} does not have in this process: "
        "import the library that defines such operators, then load again.\n"
    )


@pytest.mark.parametrize("name", ["runtime_cache_path", "runtime_cache", "dump_dir", "nonsense"])
def test_a_file_sets_no_options_but_those_that_are_saved(name: str, tmp_path: Path) -> None:
    record = {"schema": save_module.SCHEMA, "options": {name: str(tmp_path / "victim")}, "report": {}}
    rewrite(tmp_path, "extra/trt_passes.json", json.dumps(record).encode())
    with pytest.raises(UserError, match=rf"is damaged \('{name}' is no option that a file sets, in trt_passes.json\)"):
        load(tmp_path / "changed.pt2")


def rewrite(folder: Path, suffix: str, content: bytes) -> None:
    """A saved program as changed.pt2, with other content in one entry."""
    save(compiled(), folder / "model.pt2")
    with (
        zipfile.ZipFile(folder / "model.pt2") as source,
        zipfile.ZipFile(folder / "changed.pt2", "w") as target,
    ):
        for info in source.infolist():
            target.writestr(info.filename, content if info.filename.endswith(suffix) else source.read(info))


def test_pickles_of_earlier_releases_find_what_reads_them() -> None:
    """They name `trt_passes.compiler.runtime.save.from_bytes`."""
    from trt_passes.compiler.runtime import compiled_module
    from trt_passes.compiler.runtime import save as named

    assert named.from_bytes is compiled_module.from_bytes


class Flips(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("flag", torch.tensor(True))

    def forward(self, x):
        self.flag.logical_not_()
        return x + self.flag


def test_what_a_loaded_model_writes_to_is_no_memory_of_pythons(tmp_path):
    tp.save(tp.compile(Flips().eval(), [torch.ones(2)], executor="reference", min_block_size=1), tmp_path / "m.pt2")
    one = bytes([1])
    tp.load(tmp_path / "m.pt2", executor="pytorch")(torch.ones(2))
    assert one[0] == 1
