"""Files of models that generate: what anyone may have written is said to be damaged in one sentence."""

from __future__ import annotations

import json
import warnings
import zipfile
from pathlib import Path

import pytest
import trt_passes as tp
from trt_passes.generation.files import RECORD_FILE


def written(path: Path, *entries: tuple[str, str], compression: int = zipfile.ZIP_STORED) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two entries of one name
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, text in entries:
                archive.writestr(name, text)
    return path


RECORD = json.dumps({"schema": 1, "plan": {}, "config": {}, "generation_config": {}, "programs": ["step"]})


def test_names_that_are_no_text(tmp_path: Path) -> None:
    path = written(tmp_path / "a.pt2", ("programs/ä.pt2", ""))
    path.write_bytes(path.read_bytes().replace("ä".encode(), b"\xdf\x28"))
    with pytest.raises(tp.UserError, match=r"a\.pt2"):
        tp.load(path)


@pytest.mark.parametrize(
    ("entries", "compression", "message"),
    [
        (((RECORD_FILE, "["),), zipfile.ZIP_STORED, "is damaged"),
        (((RECORD_FILE, "[" * 100_000),), zipfile.ZIP_STORED, "nested too deep"),
        (((RECORD_FILE, "{}"),), zipfile.ZIP_STORED, "no schema"),
        (((RECORD_FILE, '{"schema": 999}'),), zipfile.ZIP_STORED, "upgrade it"),
        (((RECORD_FILE, RECORD), (RECORD_FILE, RECORD)), zipfile.ZIP_STORED, "have the same name"),
        (((RECORD_FILE, RECORD),), zipfile.ZIP_DEFLATED, "are compressed"),
    ],
)
def test_records_that_save_does_not_write(
    entries: tuple[tuple[str, str], ...], compression: int, message: str, tmp_path: Path
) -> None:
    with pytest.raises(tp.UserError, match=message) as caught:
        tp.load(written(tmp_path / "a.pt2", *entries, compression=compression))
    assert "\n" not in str(caught.value)


def test_a_plan_that_is_none(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(tp.UserError, match="is damaged"):
        tp.load(written(tmp_path / "a.pt2", (RECORD_FILE, RECORD)))


def test_a_configuration_finds_no_code_elsewhere() -> None:
    pytest.importorskip("transformers")
    from trt_passes.generation.model import plain_config

    config = {
        "hidden_size": 8,
        "conv_kernel_size": 3,
        "auto_map": {"AutoModel": "model.Evil"},
        "_attn_implementation": "someone/kernels",
        "text_config": {"attn_implementation": "someone/kernels", "num_layers": 2},
        "quantization_config": {"quant_method": "x"},
    }
    assert plain_config(config) == {"hidden_size": 8, "conv_kernel_size": 3, "text_config": {"num_layers": 2}}
