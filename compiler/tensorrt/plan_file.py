"""Where the builder writes an engine to while it makes it, so that there never is a second copy in memory."""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from ..ir.network import Network
from .loader import TensorRT

LARGE = 128 << 20
"""Bytes of weights from which on an engine is in a file on the disk, whose pages the system can give up."""


def weight_bytes(network: Network) -> int:
    """Bytes of the weights that a network points to."""
    return sum(tensor.nbytes for tensor in network.kept_alive)


@contextmanager
def plan_file(weights: int) -> Iterator[BinaryIO]:
    """A file without a name for the engine of a network: in memory, or on the disk where there is much to be held.

    Args:
        weights: bytes of the network's weights, which say how large the engine is going to be.
    """
    in_memory = hasattr(os, "memfd_create") and weights < LARGE
    with open(os.memfd_create("engine"), "w+b") if in_memory else tempfile.TemporaryFile() as file:
        yield file


def mapped(file: BinaryIO, nbytes: int) -> memoryview:
    """The bytes of a file, which lives for as long as what is returned; what is written to them is not in the file."""
    file.flush()
    return memoryview(mmap.mmap(file.fileno(), nbytes, access=mmap.ACCESS_COPY) if nbytes else b"")


def write_plan(trt: TensorRT, builder: Any, network: Any, config: Any, file: BinaryIO) -> bool:
    """Build a network and write its engine to a file; False if TensorRT built nothing.

    Raises:
        OSError: the file cannot be written.
    """
    if not hasattr(builder, "build_serialized_network_to_stream"):  # TensorRT 10.16
        memory = builder.build_serialized_network(network, config)
        if memory is not None:
            file.write(memory)
        return memory is not None
    writer = _writer(trt, file)
    built = builder.build_serialized_network_to_stream(network, config, writer)
    if writer.error is not None:
        raise writer.error
    return bool(built)


def _writer(trt: TensorRT, file: BinaryIO) -> Any:
    class Writer(trt.module.IStreamWriter):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.error: OSError | None = None

        def write(self, data: Any) -> int:
            try:
                return file.write(data)
            except OSError as error:  # an exception would end the process
                self.error = OSError(error.errno, error.strerror, "a temporary file of an engine")
                return 0

    return Writer()
