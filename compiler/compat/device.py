"""`Device`: Torch-TensorRT's word for where an engine runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch

from .enums import DeviceType
from .mistakes import InvalidType, InvalidValue

_TEXT = re.compile(r"(?P<kind>gpu|cuda|dla)(?::(?P<index>\d+))?", re.IGNORECASE)


class Device:
    """A device by text ("cuda:0", "gpu:1", "dla:0"), or by number.

    Args:
        spec: the text, or a torch.device; leave it out to give the rest by name.
        gpu_id: the number of the GPU.
        dla_core: the number of a DLA core: what is compiled for one is refused, since there is no DLA here.
        device_type: of the device, by default what the other arguments say.
        allow_gpu_fallback: of a DLA.
    """

    def __init__(
        self,
        spec: str | torch.device | None = None,
        *,
        gpu_id: int | None = None,
        dla_core: int | None = None,
        device_type: Any = None,
        allow_gpu_fallback: bool = False,
    ) -> None:
        if not isinstance(allow_gpu_fallback, bool):
            raise InvalidType(f"allow_gpu_fallback is {allow_gpu_fallback!r}: give True or False.")
        self.gpu_id, self.dla_core, self.allow_gpu_fallback = -1, -1, allow_gpu_fallback
        self.device_type: DeviceType = DeviceType.GPU
        if spec is not None:
            if gpu_id is not None or dla_core is not None:
                raise InvalidValue(f"a Device is given both as {spec!r} and by number: give one of them.")
            self._read(spec)
        else:
            if gpu_id is None and dla_core is None:
                raise InvalidValue("a Device needs a text such as 'cuda:0', or gpu_id, or dla_core.")
            self.gpu_id, self.dla_core = gpu_id or 0, -1 if dla_core is None else dla_core
            self.device_type = DeviceType.GPU if dla_core is None else DeviceType.DLA
        if device_type is not None:
            self.device_type = DeviceType._from(device_type)

    def _read(self, spec: Any) -> None:
        if isinstance(spec, torch.device):
            spec = str(spec)
        match = _TEXT.fullmatch(spec.strip()) if isinstance(spec, str) else None
        if match is None:
            raise InvalidValue(f"the device {spec!r} is none of the form 'cuda:0', 'gpu:0' or 'dla:0'.")
        number = int(match["index"] or 0)
        if match["kind"].lower() == "dla":
            self.device_type, self.dla_core, self.gpu_id = DeviceType.DLA, number, 0
        else:
            self.gpu_id = number

    def to(self, kind: Any) -> Any:
        """The device as a `torch.device`."""
        if kind is not torch.device:
            raise InvalidType(f"a Device is no {getattr(kind, '__name__', kind)}: ask for torch.device.")
        return torch.device("cuda", self.gpu_id)

    @classmethod
    def _from(cls, value: Any) -> Device:
        """The device that a Device, torch.device, text, dict of arguments or None (the current one) is."""
        if value is None:
            return cls._current_device()
        if isinstance(value, Mapping):
            dla = DeviceType._from(value.get("device_type", DeviceType.GPU)) is DeviceType.DLA
            fallback = bool(value.get("allow_gpu_fallback", False))
            if dla:
                return cls(dla_core=value.get("dla_core", 0), allow_gpu_fallback=fallback)
            return cls(gpu_id=value.get("gpu_id", 0), allow_gpu_fallback=fallback)
        return value if isinstance(value, cls) else cls(value)

    @classmethod
    def _from_torch_device(cls, device: torch.device) -> Device:
        """The device that a torch.device is; UserError if that is no GPU."""
        return cls(device)

    @classmethod
    def _current_device(cls) -> Device:
        """The GPU that PyTorch uses, or the first one on a machine without any."""
        index = torch.cuda.current_device() if torch.cuda.is_available() else 0
        return cls(gpu_id=index)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        return self.device_type, self.gpu_id, self.dla_core, self.allow_gpu_fallback

    def __str__(self) -> str:
        extra = "" if self.device_type is DeviceType.GPU else f", dla_core={self.dla_core}"
        extra += ", allow_gpu_fallback=True" if self.allow_gpu_fallback else ""
        return f"Device(type={self.device_type!s}, gpu_id={self.gpu_id}{extra})"

    __repr__ = __str__
