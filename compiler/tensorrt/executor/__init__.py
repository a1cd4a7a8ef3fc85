"""The reference executor: a real `INetworkDefinition` evaluated layer by layer with PyTorch, on any machine."""

from .call import ExecutorError
from .run import Observer, ReferenceExecutor, supported_layers

__all__ = ["ExecutorError", "Observer", "ReferenceExecutor", "supported_layers"]
