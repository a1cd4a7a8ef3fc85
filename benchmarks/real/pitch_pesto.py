"""pesto-pitch: the pitch of a glide, from samples to hertz in one module."""

from __future__ import annotations

from collections.abc import Mapping

import pesto
import trt_passes as tp
from case import Call, Case, Part, Result
from tones import RATE, glide, in_cents
from torch import Tensor, nn

SECONDS, STEP = 1.0, 0.01


class Pitch(nn.Module):
    """What `pesto.predict` calls, with its settings: samples [batch, n] to pitches, confidences and volumes."""

    def __init__(self) -> None:
        super().__init__()
        self.pesto = pesto.load_model("mir-1k_g7", step_size=STEP * 1000, sampling_rate=RATE)

    def forward(self, sound: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.pesto(sound, sr=RATE, convert_to_freq=True, return_activations=False)


def case() -> Case:
    """The pitches of frames that the model itself holds to be voiced."""
    sound = glide(SECONDS)[None]

    def perform(parts: Mapping[str, Call]) -> Result:
        pitch, confidence, _ = parts["pesto"](sound)
        return in_cents((pitch * (confidence > 0.5))[0].tolist(), STEP, SECONDS)

    ranges = (tp.Input(min_shape=(1, 8000), opt_shape=(1, 16000), max_shape=(2, 48000)),)
    return Case(
        package="pesto-pitch",
        task="pitch of a glide from 196 to 440 Hz",
        parts={"pesto": Part(Pitch().eval(), ranges, more=((glide(0.5)[None],), (glide(3.0).expand(2, -1),)))},
        perform=perform,
        tolerance=10,
        unit="cents",
    )
