"""torchfcpe: the pitch of a glide, by its network from a mel spectrogram to probabilities of pitches.

Not the whole, from samples to hertz: where it makes spectrograms it prints a warning if a sample is beyond 1, which is
a decision by a value that torch.export cannot follow.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torchfcpe
import trt_passes as tp
from case import Call, Case, Part, Result
from tones import RATE, glide, in_cents

SECONDS, STEP = 1.0, 0.01


def case() -> Case:
    """A frame for every 160 samples and one more."""
    network = torchfcpe.spawn_bundled_infer_model(device="cpu").model.eval()
    sound = glide(SECONDS)[None, :, None]

    def perform(parts: Mapping[str, Call]) -> Result:
        user = torchfcpe.spawn_bundled_infer_model(device="cpu")
        user.model.forward = parts["fcpe"]
        found = user.infer(sound, RATE, decoder_mode="local_argmax", threshold=0.006)
        return in_cents(found[0, :, 0].tolist(), STEP, SECONDS)

    ranges = (tp.Input(min_shape=(1, 50, 128), opt_shape=(1, 100, 128), max_shape=(2, 300, 128)),)
    return Case(
        package="torchfcpe",
        task="pitch of a glide from 196 to 440 Hz",
        parts={"fcpe": Part(network, ranges, ((torch.randn(1, 50, 128) - 5,), (torch.randn(2, 300, 128) - 5,)))},
        perform=perform,
        tolerance=10,
        unit="cents",
        note="its network, not the spectrogram before it",
    )
