"""PyTorch's writer of archives without its copies: it makes two of every tensor before it writes it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch

_LEAST = 1 << 20
"""Bytes of tensors that are worth it."""


class _Memory(bytes):
    """Stands for the memory of a tensor on its way to the writer, which asks for `bytes`."""

    storage: torch.UntypedStorage


@contextmanager
def lean_writer() -> Iterator[None]:
    """Meanwhile, archives are written from the memory of tensors that are on the CPU.

    What is written is the same, so that nothing changes for other threads that write archives meanwhile. Where PyTorch
    has other functions for it than those of 2.11 to 2.15, its own ways are kept.
    """
    from torch.export.pt2_archive import _package  # which takes a while to import

    bytes_of = getattr(_package, "_get_raw_tensor_bytes", None)
    writer: Any = getattr(_package, "PT2ArchiveWriter", None)
    write = getattr(writer, "write_bytes", None)
    if bytes_of is None or write is None:
        yield
        return

    def memory_of(value: torch.Tensor) -> bytes:
        plain = type(value) in (torch.Tensor, torch.nn.Parameter) and value.device.type == "cpu"
        if not plain or value.untyped_storage().nbytes() < _LEAST:
            return bytes_of(value)  # type: ignore[no-any-return]
        found = _Memory()
        found.storage = value.untyped_storage()
        return found

    def written(self: Any, name: str, data: bytes) -> None:
        if isinstance(data, _Memory):
            self.archive_file.write_record(name, data.storage.data_ptr(), data.storage.nbytes())
        else:
            write(self, name, data)

    with patch.object(_package, "_get_raw_tensor_bytes", memory_of), patch.object(writer, "write_bytes", written):
        yield


__all__ = ["lean_writer"]
