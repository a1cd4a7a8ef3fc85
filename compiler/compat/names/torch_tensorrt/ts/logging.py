"""The names of `torch_tensorrt.ts.logging`, which are those of `torch_tensorrt.logging`."""

from ..logging import *  # noqa: F403
from ..logging import __all__ as __all__
from ..logging import __getattr__ as __getattr__
