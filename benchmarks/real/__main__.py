"""Trained models as their users use them, beside PyTorch: docs/models.md, "Trained models".

    python benchmarks/real [MODEL ...] [--executor reference] [--precision fp32 ...] [--sizes fixed ...]

`make real` installs what it needs (requirements.txt) beside .venv and runs it. Each model does its task in PyTorch and
compiled: in float32, float16 and bfloat16, for fixed sizes and for ranges, and again saved and loaded. Results go to
results.json beside this file, which `python -m docs.generate` makes the table from; a model that is named is measured
again, and the others' results stay.
"""

from __future__ import annotations

import argparse
import json
import platform
import shlex
import sys
from datetime import date
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rows import MODELS, PRECISIONS, SIZES, answer

RESULTS = Path(__file__).parent / "results.json"
EXECUTORS = ("reference", "tensorrt", "pytorch")


def main() -> None:
    """Measure the named models, or all, each in a process of its own, and keep what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(MODELS))
    parser.add_argument("--executor", default="reference", choices=EXECUTORS)
    parser.add_argument("--precision", nargs="+", default=list(PRECISIONS), choices=list(PRECISIONS))
    parser.add_argument("--sizes", nargs="+", default=SIZES, choices=SIZES)
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file that keeps what is measured")
    options = parser.parse_args()
    unknown = [name for name in options.models if name not in MODELS]
    if unknown:
        parser.error(f"unknown model {unknown[0]!r}: choose from {', '.join(MODELS)}")
    kept = json.loads(options.results.read_text(encoding="utf-8")) if options.results.exists() else {"models": {}}
    context = get_context("spawn")
    for name in options.models or MODELS:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(
            daemon=True, target=answer, args=(sender, name, options.precision, options.sizes, options.executor)
        )
        process.start()
        sender.close()
        try:
            made = receiver.recv()
        except EOFError:
            made = {"package": "", "failed": "the process died: see what it printed"}
        process.join()
        before = kept["models"].get(name, {})
        if before.get("executor") == made.get("executor"):
            for kept_key in ("rows", "autocast"):
                made[kept_key] = {**before.get(kept_key, {}), **made.get(kept_key, {})}
        models = {**kept["models"], name: made}
        kept = {**machine(), "models": {key: models[key] for key in MODELS if key in models}}
        options.results.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """Where, when and with what this was measured."""
    packages = ("torch", "tensorrt-rtx-cu13", "transformers", "sentence-transformers", "numpy")
    return {
        "command": shlex.join(["python", "benchmarks/real", *sys.argv[1:]]),
        "date": str(date.today()),
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
    }


if __name__ == "__main__":
    main()
