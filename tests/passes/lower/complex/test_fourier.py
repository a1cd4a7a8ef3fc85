"""Fourier transforms: as exact as PyTorch's, in one engine with what is around them."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import pytest
import torch
import trt_passes as tp
from torch import nn
from trt_passes.compiler.ir.annotations import is_exact
from trt_passes.passes.lower.complex.constants import Constants
from trt_passes.passes.lower.complex.fourier import Fourier, factors_of
from trt_passes.passes.lower.complex.pair import Pair

from tests.marks import gpu
from tests.passes.lower.complex.programs import check, compiled

NORMS = {"backward": 0, "ortho": 1, "forward": 2}


class Given:
    """Constants as a rule gets them, with their values."""

    def tensor(self, name: str, key: Hashable, make: Callable[[], torch.Tensor]) -> torch.Tensor:
        return make()


RULES: Any = Fourier(Given())  # type: ignore[arg-type]


def whole(value: Any) -> Any:
    return torch.complex(value.real, value.imag) if isinstance(value, Pair) else value


def pair_of(value: torch.Tensor) -> Pair:
    return Pair(value.real.clone(), value.imag.clone())


def error(actual: torch.Tensor, exact: torch.Tensor) -> float:
    """The root of the mean square of the differences, relative to that of the exact numbers."""
    return float(torch.linalg.vector_norm(actual.to(exact.dtype) - exact) / torch.linalg.vector_norm(exact))


@pytest.mark.parametrize("length", [1, 2, 3, 8, 30, 97, 128, 240, 256, 400, 512, 997, 1000, 1024, 4096, 44100])
def test_all_kinds_of_transforms_are_as_exact_as_those_of_pytorch(length: int) -> None:
    torch.manual_seed(length)
    x, z = torch.randn(2, length), torch.randn(2, length, dtype=torch.complex64)
    half = z[:, : length // 2 + 1]
    wide_x, wide_z, wide_half = x.double(), z.to(torch.complex128), half.to(torch.complex128)
    f32 = torch.float32
    cases = {
        "fft": (RULES.c2c(f32, pair_of(z), [1], 0, True), torch.fft.fft(z), torch.fft.fft(wide_z)),
        "ifft": (RULES.c2c(f32, pair_of(z), [-1], 2, False), torch.fft.ifft(z), torch.fft.ifft(wide_z)),
        "rfft": (RULES.r2c(f32, x, [1], 0, True), torch.fft.rfft(x), torch.fft.rfft(wide_x)),
        "all of rfft": (RULES.r2c(f32, x, [1], 0, False), torch.fft.fft(x), torch.fft.fft(wide_x)),
        "irfft": (
            RULES.c2r(f32, pair_of(half), [1], 2, length),
            torch.fft.irfft(half, length),
            torch.fft.irfft(wide_half, length),
        ),
    }
    for name, (ours, eager, exact) in cases.items():
        assert error(whole(ours), exact) <= max(4 * error(eager, exact), 1e-7), name


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dims", [[0, 1, 2], [2, 0], [1], [0, 2, 1]], ids=str)
def test_several_dimensions_and_all_scales(norm: str, dims: list[int]) -> None:
    x, z = torch.randn(3, 4, 6), torch.randn(3, 4, 6, dtype=torch.complex64)
    number, f32 = NORMS[norm], torch.float32
    inverse = {0: 2, 1: 1, 2: 0}[number]
    close = torch.testing.assert_close
    close(whole(RULES.c2c(f32, pair_of(z), dims, number, True)), torch.fft.fftn(z, dim=dims, norm=norm))
    close(whole(RULES.c2c(f32, pair_of(z), dims, inverse, False)), torch.fft.ifftn(z, dim=dims, norm=norm))
    close(whole(RULES.r2c(f32, x, dims, number, True)), torch.fft.rfftn(x, dim=dims, norm=norm))
    for last in (2 * x.shape[dims[-1]] - 1, 2 * x.shape[dims[-1]] - 2):
        sizes = [*(x.shape[dim] for dim in dims[:-1]), last]
        expected = torch.fft.irfftn(z, s=sizes, dim=dims, norm=norm)
        close(RULES.c2r(f32, pair_of(z), dims, inverse, last), expected)


def test_matrices_are_small_where_a_length_has_factors() -> None:
    assert factors_of(128) is None
    assert factors_of(1024) == (32, 32)
    assert factors_of(997) is None
    assert factors_of(48000) == (200, 240)


X, WAVE, WINDOW = torch.randn(2, 8, 16), torch.randn(2, 100), torch.hann_window(16)


def spectrum(wave: torch.Tensor, **options: Any) -> torch.Tensor:
    return torch.stft(wave, 16, 4, return_complex=True, **({"window": WINDOW} | options))


PROGRAMS = {
    "FNet's mixing": (lambda x: torch.fft.fft(torch.fft.fft(x, dim=-1), dim=-2).real, X),
    "two dimensions": (lambda x: torch.fft.ifft2(torch.fft.fftshift(torch.fft.fft2(x)), norm="ortho").imag, X),
    "cropped and padded": (
        lambda x: torch.fft.fft(x, n=20, dim=1).abs()[:, :8] + torch.fft.rfft(x, n=9)[..., :1].real,
        X,
    ),
    "hermitian": (lambda x: torch.fft.hfft(torch.fft.ihfft(x), n=16, norm="forward"), X),
    "spectrogram": (lambda wave: spectrum(wave).abs().square(), WAVE),
    "spectrogram as it comes": (
        lambda wave: spectrum(wave, center=False, onesided=False, normalized=True, window=None).angle().cos(),
        WAVE,
    ),
    "short window": (lambda wave: torch.view_as_real(spectrum(wave, win_length=12, window=WINDOW[:12])), WAVE),
    "there and back": (lambda wave: torch.istft(spectrum(wave) * 2, 16, 4, window=WINDOW, length=99), WAVE),
    "of complex signals": (
        lambda wave: spectrum(torch.complex(wave, wave.flip(-1)), onesided=False).abs(),
        WAVE,
    ),
    "a long transform": (lambda wave: torch.fft.rfft(wave, n=600).abs(), WAVE),
}


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.filterwarnings("ignore:A window was not provided")
def test_one_engine(name: str) -> None:
    function, x = PROGRAMS[name]
    check(function, (x,))


class FNet(nn.Module):
    """A layer of FNet (Lee-Thorp et al., 2021)."""

    def __init__(self, features: int = 16) -> None:
        super().__init__()
        self.first, self.last = nn.LayerNorm(features), nn.LayerNorm(features)
        self.feed = nn.Sequential(nn.Linear(features, 32), nn.GELU(), nn.Linear(32, features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x + torch.fft.fft2(x, dim=(-2, -1)).real)
        return self.last(x + self.feed(x))


class FNO(nn.Module):
    """A Fourier layer (Li et al., 2021): the lowest modes times complex weights, beside a convolution."""

    def __init__(self, channels: int = 3, modes: int = 4) -> None:
        super().__init__()
        self.modes = modes
        self.low = nn.Parameter(torch.randn(channels, channels, modes, modes, dtype=torch.complex64))
        self.high = nn.Parameter(torch.randn(channels, channels, modes, modes, dtype=torch.complex64))
        self.beside = nn.Conv2d(channels, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        modes, sizes = self.modes, x.shape[-2:]
        numbers = torch.fft.rfft2(x)
        out = torch.zeros(*x.shape[:2], sizes[0], sizes[1] // 2 + 1, dtype=torch.complex64, device=x.device)
        mix = "bixy,ioxy->boxy"
        out[:, :, :modes, :modes] = torch.einsum(mix, numbers[:, :, :modes, :modes], self.low)
        out[:, :, -modes:, :modes] = torch.einsum(mix, numbers[:, :, -modes:, :modes], self.high)
        return torch.nn.functional.gelu(torch.fft.irfft2(out, s=sizes) + self.beside(x))


class Vocoder(nn.Module):
    """Magnitudes and phases of frames, and the wave of them, as Vocos (Siuzdak, 2023) ends."""

    def __init__(self, features: int = 8, size: int = 16) -> None:
        super().__init__()
        self.size, self.out = size, nn.Linear(features, size + 2)
        self.register_buffer("window", torch.hann_window(size))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size, phase = self.out(x).transpose(1, 2).chunk(2, dim=1)
        numbers = size.exp().clip(max=1e2) * (torch.cos(phase) + 1j * torch.sin(phase))
        return torch.istft(numbers, self.size, self.size // 4, self.size, self.window)


class Mel(nn.Module):
    """A log-mel front end."""

    def __init__(self, size: int = 32, bands: int = 5) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("window", torch.hann_window(size))
        self.register_buffer("bank", torch.rand(bands, size // 2 + 1))

    def forward(self, wave: torch.Tensor) -> torch.Tensor:
        numbers = torch.stft(wave, self.size, 10, window=self.window, return_complex=True)
        return (self.bank @ numbers.abs().square()).clamp(min=1e-10).log10()


MODELS = {
    "FNet": (lambda: nn.Sequential(FNet(), FNet()), (2, 12, 16)),
    "FNO": (lambda: nn.Sequential(FNO(), FNO()), (2, 3, 12, 10)),
    "vocoder with istft": (Vocoder, (2, 20, 8)),
    "mel front end": (Mel, (2, 200)),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_one_engine(name: str) -> None:
    make, shape = MODELS[name]
    torch.manual_seed(0)
    result = check(make().eval(), (torch.randn(shape),), tolerance=1e-4)
    assert result.report.coverage == 1.0


def test_a_varying_batch() -> None:
    model = FNet().eval()
    spec = tp.Input(min_shape=(1, 12, 16), opt_shape=(2, 12, 16), max_shape=(5, 12, 16), dtype=torch.float32)
    result = compiled(model, [spec])
    assert result.report.coverage == 1.0
    for batch in (1, 2, 5):
        x = torch.randn(batch, 12, 16)
        torch.testing.assert_close(result(x), model(x), rtol=1e-4, atol=1e-5)


def test_a_varying_length_stays_in_pytorch_and_says_so() -> None:
    class Model(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.fft.fft(x.relu(), dim=1).abs() + 1

    spec = tp.Input(min_shape=(2, 8, 4), opt_shape=(2, 12, 4), max_shape=(2, 40, 4), dtype=torch.float32)
    result = compiled(Model(), [spec])
    (row,) = (row for row in result.report.ledger if row.op == "aten._fft_r2c")
    assert row.reasons[0].code == "TP212"
    assert "of the Fourier transform varies" in row.reasons[0].message
    for length in (8, 12, 40):
        x = torch.randn(2, length, 4)
        torch.testing.assert_close(result(x), Model()(x))


def test_a_long_prime_stays_in_pytorch_and_says_so() -> None:
    result = check(lambda x: torch.fft.rfft(x, n=8191).abs() + 1, (X,), segments=None)
    (row,) = (row for row in result.report.ledger if row.op == "aten._fft_r2c")
    assert "prime length 8191" in row.reasons[0].message


def test_half_precision_and_tf32_are_not_for_transforms() -> None:
    model = FNet().eval()
    x = torch.randn(2, 12, 16) + 100
    result = compiled(model, [x], enabled_precisions={torch.float16})
    program = result.report.program
    exact = {node for node in program.op_nodes if is_exact(node)}
    assert exact
    assert all(node.meta["val"].dtype is torch.float32 for node in exact)
    assert any(node.meta["val"].dtype is torch.float16 for node in program.op_nodes if "linear" in node.name)
    assert not result.report.program.segments[0].engine.spec.tf32
    plain = compiled(nn.Linear(16, 4), [x])
    assert plain.report.program.segments[0].engine.spec.tf32


def test_matrices_are_on_the_device_of_what_they_multiply() -> None:
    program = tp.trace(nn.ReLU(), [X])
    constants = Constants(program)
    numbers = [constants.tensor("one", "key", lambda: torch.ones(2))]
    constants.device = torch.device("meta")
    numbers.append(constants.tensor("one", "key", lambda: torch.ones(2)))
    nodes = [constants.node_of(number) for number in numbers]
    assert [node.meta["val"].device.type for node in nodes] == ["cpu", "meta"]


@gpu
@pytest.mark.parametrize("name", MODELS)
def test_a_model_on_a_gpu_is_one_engine(name: str) -> None:
    make, shape = MODELS[name]
    torch.manual_seed(0)
    # TensorRT-RTX computes products of float32 in TF32 on an H200.
    result = check(make().eval().cuda(), (torch.randn(shape).cuda(),), tolerance=1e-2, executor="tensorrt")
    assert result.report.coverage == 1.0
