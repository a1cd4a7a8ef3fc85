"""Models that can be scripted or traced, both ways: compiled as TorchScript, saved, loaded, and beside the original.

    python benchmarks/torchscript_models.py [MODEL ...] [--ways scripted traced] [--seconds 240]

Takes the architectures of architectures.py, the examples at their own sizes, and images models of timm and torchvision
where these are installed, all with random weights. Every model has a process of its own. What is compiled is for ranges
where the original takes them, and is called ten times, with the smallest, the usual and the largest sizes. Without
MODEL the rows are kept in benchmarks/torchscript_models.json, those of this run in the place of those before.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import io
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "torchscript_models.json"
sys.path.insert(0, str(FOLDER))

WAYS = ("scripted", "traced")
EXAMPLES = ("resnet50", "bert", "gpt2", "vit", "llama")
TORCHVISION = (
    *("resnet18", "mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5", "efficientnet_b0", "densenet121"),
    *("googlenet", "swin_t", "convnext_tiny"),
)
TIMM = (
    *("mobilenetv3_small_050", "vit_tiny_patch16_224", "convnext_atto", "swin_tiny_patch4_window7_224", "regnetx_002"),
    *("mixer_s32_224", "edgenext_xx_small", "levit_128s", "xcit_nano_12_p16_224", "poolformer_s12", "ghostnet_050"),
    *("efficientvit_b0", "repvgg_a0", "coat_lite_tiny", "resnest14d", "fastvit_t8", "mobilevit_xxs"),
)
TOLERANCE = 1e-3
"""Of the relative L2 distance of every result."""


def names() -> list[str]:
    """What there is here: architectures, examples, and models of the packages that are installed."""
    from architectures import ARCHITECTURES

    found = [*ARCHITECTURES, *(f"examples/{name}" for name in EXAMPLES)]
    for package, known in (("torchvision", TORCHVISION), ("timm", TIMM)):
        if importlib.util.find_spec(package) is not None:
            found += [f"{package}/{name}" for name in known]
    return found


def main() -> int:
    """Try the named models, or all; 0 unless one is wrong, refused or not finished."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="MODEL")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--seconds", type=float, default=240, help="for one model")
    parser.add_argument("--keep", action="store_true", help="keep the rows of named models, too")
    parser.add_argument("--here", action="store_true", help="print the row of one model, made in this process")
    options = parser.parse_args()
    if options.here:
        print(json.dumps(row_of(options.names[0], options.ways[0])))
        return 0
    bad = 0
    for name in options.names or names():
        for way in options.ways:
            row = _in_a_process(name, way, options.seconds)
            bad += not (row["result"] == "right" or row["result"].startswith("cannot be"))
            print(f"{name:36} {way:9} {row['result']:.120}  {row.get('how', '')}", flush=True)
            if options.keep or not options.names:
                _keep(row)
    return 1 if bad else 0


def _in_a_process(name: str, way: str, seconds: float) -> dict[str, Any]:
    command = [sys.executable, __file__, name, "--ways", way, "--here"]
    began = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds)
    except subprocess.TimeoutExpired:
        return {"name": name, "way": way, "result": f"was not finished in {seconds:.0f} s"}
    try:
        row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = (done.stderr.strip() or "nothing was said").splitlines()[-1]
        row = {"name": name, "way": way, "result": f"ended with {done.returncode}: {last[:200]}"}
    return {**row, "seconds": round(time.monotonic() - began, 1)}


def _keep(row: Mapping[str, Any]) -> None:
    rows = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else []
    rows = [other for other in rows if (other["name"], other["way"]) != (row["name"], row["way"])]
    rows = sorted([*rows, row], key=lambda other: (other["name"], other["way"]))
    lines = ",\n".join(json.dumps(item) for item in rows)
    RESULTS.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def row_of(name: str, way: str) -> dict[str, Any]:
    """What becomes of a model: right, or what is wrong, in how many engines, and whether for ranges."""
    import torch
    import trt_passes as tp

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    row: dict[str, Any] = {"name": name, "way": way, "torch": torch.__version__}
    model, given, ranges = _made(name)
    with torch.no_grad():
        try:
            script: Any = torch.jit.script(model) if way == "scripted" else torch.jit.trace(model, given, strict=False)
        except Exception as error:
            return {**row, "result": f"cannot be {way}: {_line(error)}"}
        original = copy.deepcopy(script)
        calls = _calls(original, given, ranges)
        declared = given if len(calls) == 1 else ranges
        try:
            compiled = tp.compile(script, list(declared or given), executor="pytorch", min_block_size=1)
            buffer = io.BytesIO()
            torch.jit.save(compiled, buffer)
            buffer.seek(0)
            loaded = torch.jit.load(buffer)
            error = max(_distance(original, ways, calls) for ways in (compiled, loaded))
        except Exception as problem:
            return {**row, "result": f"{type(problem).__name__}: {_line(problem)}"}
    report: Any = compiled.report
    verdicts = report.verdicts
    how = "whole" if not hasattr(report, "whole") else "in blocks"
    shapes = "fixed sizes" if len(calls) == 1 else "ranges"
    said = f"{how}, {len(report.segments)} engines, {verdicts['trt']} of {sum(verdicts.values())} nodes, {shapes}"
    good = "right" if error < TOLERANCE else f"wrong by {error:.1e}"
    return {**row, "result": good, "how": said, "error": float(f"{error:.1e}")}


def _made(name: str) -> tuple[Any, tuple[Any, ...], list[Any] | None]:
    """A model that takes tensors in order, examples, and ranges of them."""
    import torch
    import trt_passes as tp

    package, _, rest = name.partition("/")
    if package == "examples":
        from trt_passes.compiler.frontends.load_model import load_model

        loaded = load_model(f"{FOLDER.parent / 'examples' / rest}.py:model")
        given = (*loaded.args, *loaded.kwargs.values())
        return loaded.module, tuple(x.example() if isinstance(x, tp.Input) else x for x in given), None
    if not rest:
        from architectures import ARCHITECTURES

        architecture = ARCHITECTURES[name]
        model, inputs = architecture.built()
        return _in_order(model, tuple(inputs)), tuple(inputs.values()), list(architecture.ranges().values())
    torch.manual_seed(0)
    if package == "timm":
        import timm

        model, side = timm.create_model(rest).eval(), 224 if not rest.startswith("mobilevit") else 256
    else:
        import torchvision

        model, side = torchvision.models.get_model(rest, weights=None).eval(), 224
    ranges = [tp.Input(min_shape=(1, 3, side, side), opt_shape=(2, 3, side, side), max_shape=(3, 3, side, side))]
    return model, (torch.randn(2, 3, side, side),), ranges


def _in_order(model: Any, names: Sequence[str]) -> Any:
    """The model with arguments in order, which `torch.jit.trace` gives."""
    import torch

    class InOrder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *args: torch.Tensor) -> Any:
            return self.model(**dict(zip(names, args, strict=True)))

    return InOrder().eval()


def _calls(original: Any, given: tuple[Any, ...], ranges: Sequence[Any] | None) -> list[tuple[Any, ...]]:
    """The usual arguments; if the original takes them, also the smallest and the largest of the ranges."""
    from architectures import resized

    if ranges is None:
        return [given]
    keys = [str(place) for place in range(len(given))]
    named, declared = dict(zip(keys, given, strict=True)), dict(zip(keys, ranges, strict=True))
    corners = [tuple(resized(named, declared, corner).values()) for corner in ("min_shape", "max_shape")]
    try:
        for corner in corners:
            copy.deepcopy(original)(*corner)
    except RuntimeError:  # a trace that has the sizes of its example
        return [given]
    return [given, *corners]


def _distance(original: Any, found: Any, calls: Sequence[tuple[Any, ...]]) -> float:
    """The largest relative L2 distance of a result, over ten calls."""
    import torch
    from torch.utils import _pytree as pytree

    twin, largest = copy.deepcopy(original), 0.0
    for number in range(10 if sum(map(torch.numel, calls[0])) < 1e5 else len(calls) + 1):
        given = calls[number % len(calls)]
        ours, theirs = pytree.tree_leaves(found(*given)), pytree.tree_leaves(twin(*given))
        assert len(ours) == len(theirs), f"{len(ours)} results, not {len(theirs)}"
        for a, b in zip(ours, theirs, strict=True):
            if not isinstance(b, torch.Tensor):
                assert a == b, f"{a}, not {b}"
                continue
            assert (a.dtype, a.shape) == (b.dtype, b.shape), f"{a.dtype}{list(a.shape)}, not {b.dtype}{list(b.shape)}"
            scale = float(b.double().norm()) or 1.0
            largest = max(largest, float((a.double() - b.double()).norm()) / scale)
    return largest


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


if __name__ == "__main__":
    sys.exit(main())
