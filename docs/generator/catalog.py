"""Write the catalog of `trt-passes passes` and `ops`: `python -m docs.generator.catalog`, a part of `make docs`."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from trt_passes.compiler.cli.catalog_file import PATH, SampleEntry, to_text
from trt_passes.compiler.cli.catalog_of_code import catalog_of_code

SAMPLES = Path(__file__).parents[2] / "tests" / "operators" / "results.json"


def write_catalog() -> None:
    """Write what the passes, the converters, the PyTorch at hand and the last run of its samples say."""
    catalog = catalog_of_code()
    PATH.write_text(to_text(catalog._replace(samples=samples_of(catalog.others))), encoding="utf-8")


def samples_of(others: Mapping[str, str]) -> dict[str, SampleEntry]:
    """What became of PyTorch's samples of the operators that are decomposed, in `tests/operators/results.json`."""
    decomposed = {".".join(name.split(".")[:2]) for name, fate in others.items() if fate == "decomposed"}
    found = {}
    for entry, by_dtype in json.loads(SAMPLES.read_text(encoding="utf-8"))["entries"].items():
        name = f"aten.{entry.removeprefix('nn.functional.').replace('.', '_')}"
        counts = Counter[str]()
        for outcomes in (
            outcomes for item in by_dtype.values() if isinstance(item, dict) for outcomes in item.values()
        ):
            counts.update(outcomes)
        if name in decomposed and counts["right"] + counts["refused"]:
            codes = tuple(sorted(code for code in counts if re.fullmatch(r"TP\d+", code)))
            found[name] = SampleEntry(counts["right"], counts["refused"], codes)
    return dict(sorted(found.items()))


if __name__ == "__main__":
    write_catalog()
