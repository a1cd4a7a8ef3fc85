"""A real file: the voice detector that the package silero-vad ships, whole and in blocks, on speech of espeak-ng.

    pip install --no-deps silero-vad; apt-get install espeak-ng
    pytest --long tests/compiler/frontends/torchscript/test_silero.py

`make real` does the same with the package's weights in three precisions.
"""

from __future__ import annotations

import importlib.util
import io
import shutil
import subprocess
import wave
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trt_passes as tp
from torch import Tensor

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(importlib.util.find_spec("silero_vad") is None, reason="silero-vad is not installed"),
    pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore:`torch.jit"),
]

WINDOWS = {16000: 512, 8000: 256}
SENTENCES = (("The meeting begins at ten o'clock.", "en-us"), ("Who is going to write the minutes?", "en-gb"))


def spoken(text: str, voice: str, rate: int, folder: Path) -> Tensor:
    """A sentence: float32 [samples]."""
    path = folder / "spoken.wav"
    subprocess.run(["espeak-ng", "-v", voice, "-w", str(path), text], check=True)
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768
        length = int(len(samples) * rate / file.getframerate())
    return torch.nn.functional.interpolate(torch.from_numpy(samples)[None, None], length, mode="linear")[0, 0]


def recording(rate: int, folder: Path) -> Tensor:
    """Silence, a sentence, noise, another one, a hum, silence."""
    generator = torch.Generator().manual_seed(0)
    silence, noise = torch.zeros(rate), 0.02 * torch.randn(rate, generator=generator)
    hum = 0.1 * torch.sin(2 * torch.pi * 100 * torch.arange(rate) / rate)
    first, second = (spoken(text, voice, rate, folder) for text, voice in SENTENCES)
    sound = torch.cat([silence, first, noise, second, hum, silence])
    return sound + 1e-4 * torch.randn(len(sound), generator=generator)


def detector() -> Any:
    """The file, read anew."""
    return torch.jit.load(str(resources.files("silero_vad.data") / "silero_vad.jit")).eval()


def reloaded(script: Any) -> Any:
    buffer = io.BytesIO()
    torch.jit.save(script, buffer)
    buffer.seek(0)
    return torch.jit.load(buffer)


@torch.no_grad()
@pytest.mark.parametrize("rate", WINDOWS)
def test_the_file_finds_the_same_speech(rate: int, tmp_path: Path) -> None:
    from silero_vad.utils_vad import get_speech_timestamps

    sound = recording(rate, tmp_path)
    inputs = [torch.zeros(1, WINDOWS[rate]), rate]
    compiled = tp.compile(detector(), inputs, executor="reference", min_block_size=1)
    report = compiled.report
    assert report.verdicts["trt"] > 40  # the network; what keeps its state stays TorchScript
    assert "vad_annotator.py" in report.why()
    expected = get_speech_timestamps(sound, detector(), sampling_rate=rate)
    assert len(expected) == 2
    for model in (compiled, reloaded(compiled)):
        assert get_speech_timestamps(sound, model, sampling_rate=rate) == expected


@torch.no_grad()
@pytest.mark.parametrize("name", ["_model", "_model_8k"])
def test_its_networks_are_one_engine_each(name: str) -> None:
    network = getattr(detector(), name)
    size = 576 if name == "_model" else 288
    rows = tp.Input(min_shape=(1, size), opt_shape=(1, size), max_shape=(8, size))
    states = tp.Input(min_shape=(2, 1, 128), opt_shape=(2, 1, 128), max_shape=(2, 8, 128))
    compiled = tp.compile(network, [rows, states], executor="reference", min_block_size=1)
    assert not hasattr(compiled.report, "whole")
    assert compiled.report.coverage == 1
    assert len(compiled.report.segments) == 1
    for count in (1, 3, 8):
        given = (torch.randn(count, size) * 0.1, torch.randn(2, count, 128) * 0.1)
        torch.testing.assert_close(compiled(*given), network(*given), rtol=1e-3, atol=1e-4)
