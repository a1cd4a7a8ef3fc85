"""silero-vad: where somebody speaks, by its `.jit` and by the same network as a module."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import silero_vad
import torch
import trt_passes as tp
from case import Call, Case, Part, Result
from speech import RATE, spoken
from torch import Tensor, nn
from torch.nn import functional as F

CONTEXT, WINDOW = 64, 512
"""Samples at 16 kHz; at 8 kHz half as many."""

_NAMES = {
    "stft.forward_basis_buffer": "basis",
    ".reparam_conv": "",
    "decoder.rnn": "cell",
    "decoder.decoder.2": "last",
}
"""Parts of names in the .jit, and in the module below."""


def recording() -> Tensor:
    """Silence, a sentence, noise, another sentence, a hum, silence: float32 [samples] at 16 kHz."""
    generator = np.random.default_rng(0)
    noise = generator.normal(0, 0.02, RATE).astype(np.float32)
    hum = 0.1 * np.sin(2 * np.pi * 100 * np.arange(RATE) / RATE).astype(np.float32)
    silence = np.zeros(RATE, np.float32)
    first = spoken("The meeting begins at ten o'clock.", "en-us")
    second = spoken("Who is going to write the minutes this time?", "en-us+f3")
    sound = np.concatenate([silence, first, noise, second, hum, silence])
    return torch.from_numpy(sound + generator.normal(0, 1e-4, len(sound)).astype(np.float32))


class Network(nn.Module):
    """The network in silero_vad.jit for 16 kHz, with its weights.

    Samples [batch, 576] and state [2, batch, 128] to a probability [batch, 1] and the next state.
    """

    def __init__(self, jit: torch.jit.ScriptModule) -> None:
        super().__init__()
        weights = {_own_name(name): value for name, value in jit.state_dict().items()}
        self.basis = nn.Buffer(weights["basis"])
        self.encoder = nn.ModuleList()
        for number, stride in enumerate((1, 2, 2, 1)):
            made, fed, width = weights[f"encoder.{number}.weight"].shape
            self.encoder.append(nn.Conv1d(fed, made, width, stride=stride, padding=1))
        self.cell = nn.LSTMCell(128, 128)
        self.last = nn.Conv1d(128, 1, 1)
        self.load_state_dict(weights)

    def forward(self, sound: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        padded = F.pad(sound, (0, CONTEXT), mode="reflect")[:, None]
        spectrum = F.conv1d(padded, self.basis, stride=128)
        half = spectrum.shape[1] // 2
        x = torch.sqrt(spectrum[:, :half] ** 2 + spectrum[:, half:] ** 2)
        for layer in self.encoder:
            x = F.relu(layer(x))
        hidden, cell = self.cell(x.squeeze(-1), (state[0], state[1]))
        probability = torch.sigmoid(self.last(F.relu(hidden[:, :, None])))
        return probability.squeeze(1).mean(1, keepdim=True), torch.stack([hidden, cell])


class Stream:
    """What `get_speech_timestamps` takes for a model: windows of 32 ms, with state and context kept between."""

    def __init__(self, call: Call, rate: int) -> None:
        self.call, self.kept = call, CONTEXT * rate // RATE
        self.reset_states()

    def reset_states(self) -> None:
        self.state, self.context = torch.zeros(2, 1, 128), torch.zeros(1, self.kept)

    def __call__(self, window: Tensor, _rate: int) -> Tensor:
        sound = torch.cat([self.context, window[None]], 1)
        probability, self.state = self.call(sound, self.state)
        self.context = sound[:, -self.kept :]
        return probability


def case() -> Case:
    """The network as a module."""
    jit = silero_vad.load_silero_vad()._model
    network = Network(jit).eval()
    sound, state = torch.randn(3, CONTEXT + WINDOW), torch.randn(2, 3, 128)
    with torch.no_grad():
        for ours, theirs in zip(network(sound, state), jit(sound, state), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    return _case(network, "its network for 16 kHz written as a module, with the weights of its .jit")


def jit_case() -> Case:
    """The `.jit` that the package ships: its network for 16 kHz, as the wrapper around it calls it."""
    return _case(silero_vad.load_silero_vad()._model, "silero_vad.jit, the network for 16 kHz")


def jit_8k_case() -> Case:
    """The other network of that file."""
    return _case(silero_vad.load_silero_vad()._model_8k, "silero_vad.jit, the network for 8 kHz", RATE // 2)


def _case(network: nn.Module, note: str, rate: int = RATE) -> Case:
    sound = recording()
    sound = F.interpolate(sound[None, None], len(sound) * rate // RATE, mode="linear")[0, 0] if rate != RATE else sound

    def perform(parts: Mapping[str, Call]) -> Result:
        found = silero_vad.get_speech_timestamps(sound, Stream(parts["vad"], rate), sampling_rate=rate)
        words = ", ".join(f"{part['start'] / rate:.1f}-{part['end'] / rate:.1f} s" for part in found)
        return Result(tuple(part[end] for part in found for end in ("start", "end")), f"speech at {words}")

    size = (CONTEXT + WINDOW) * rate // RATE
    samples, states = (1, size), (2, 1, 128)
    ranges = (
        tp.Input(min_shape=samples, opt_shape=samples, max_shape=(8, size)),
        tp.Input(min_shape=states, opt_shape=states, max_shape=(2, 8, 128)),
    )
    more = ((torch.randn(8, size), torch.randn(2, 8, 128)),)
    return Case(
        package="silero-vad",
        task=f"speech in {len(sound) / rate:.1f} s of sentences, noise, hum and silence",
        parts={"vad": Part(network, ranges, more)},
        perform=perform,
        note=note,
    )


def _own_name(name: str) -> str:
    for theirs, ours in _NAMES.items():
        name = name.replace(theirs, ours)
    return name
