"""Caches of keys and values: one that a generation fills, and one that stands for it while a model is traced."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from ..compiler.errors import UserError
from ..compiler.ir.dtypes import from_short_name, short_name
from ..compiler.ir.operators import WRITE_ROWS


@dataclass(frozen=True)
class Slot:
    """What one layer keeps of every position: keys [B, heads, M, key_dim] and values [B, heads, M, value_dim].

    `sliding` says whether the layer reads the last positions only; it keeps all of them nevertheless.
    """

    heads: int
    key_dim: int
    value_dim: int
    sliding: bool

    def widths(self) -> tuple[tuple[int, int], tuple[int, int]]:
        """(heads, dim) of the keys, and of the values."""
        return (self.heads, self.key_dim), (self.heads, self.value_dim)


@dataclass(frozen=True)
class Layout:
    """The tensors of a cache: keys and values of each layer, those of one size as parts of one tensor [G, B, H, M, D].

    So a step's new rows are one result for each size, and are written by one copy; unless `in_place` says that a step
    writes them into the cache itself.
    """

    slots: tuple[Slot, ...]
    positions: int
    dtype: torch.dtype
    in_place: bool = False

    @property
    def tensors(self) -> list[tuple[int, int]]:
        """(heads, dim) of every tensor: keys and values of the first layer, of the second, and so on."""
        return [width for slot in self.slots for width in slot.widths()]

    @property
    def groups(self) -> dict[tuple[int, int], list[int]]:
        """The numbers of the tensors of each size."""
        found: dict[tuple[int, int], list[int]] = {}
        for number, width in enumerate(self.tensors):
            found.setdefault(width, []).append(number)
        return found

    def bytes_per_sequence(self) -> int:
        """What one sequence takes."""
        return sum(heads * dim for heads, dim in self.tensors) * self.positions * self.dtype.itemsize

    def bytes_copied(self) -> int:
        """The bytes of one sequence's cache that a step copies at most: none in place.

        Otherwise each layer puts its new rows among the others, and what attends to them may copy them once more.
        """
        return 0 if self.in_place else 2 * self.bytes_per_sequence()

    def to_json(self) -> dict[str, Any]:
        """JSON-able values."""
        slots = [asdict(slot) for slot in self.slots]
        named = {"positions": self.positions, "dtype": short_name(self.dtype), "in_place": self.in_place}
        return {"slots": slots, **named}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Layout:
        """The layout that `to_json` wrote."""
        slots = tuple(Slot(**slot) for slot in data["slots"])
        in_place = bool(data.get("in_place", False))
        return cls(slots, int(data["positions"]), from_short_name(data["dtype"]), in_place)


class Layer(CacheLayerMixin):
    """What transformers asks a layer of a cache for, its sizes and kind."""

    is_compileable = False
    is_croppable = True

    def __init__(self, positions: Any, sliding: bool) -> None:
        self.keys: Any = None
        self.values: Any = None
        self.is_initialized = True
        self.is_sliding = sliding
        self.positions: int = positions
        self.length: Any = 0

    def lazy_initialization(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: tensors are there before."""

    def update(self, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """A compiled model writes to its cache itself."""
        raise UserError("this cache belongs to a compiled model, and another model cannot write to it.")

    def get_mask_sizes(self, *args: Any, **kwargs: Any) -> tuple[int, int]:
        """How many positions a mask has, and which is the first."""
        return self.positions, 0

    def get_seq_length(self, *args: Any, **kwargs: Any) -> Any:
        """How many positions are filled."""
        return self.length

    def get_max_length(self) -> int:
        """How many positions there are."""
        return self.positions

    get_max_cache_shape = get_max_length


class TracedLayer(Layer):
    """A layer whose tensors are inputs of a program, and whose new rows, or tensors with these, are its results.

    A step reads the first `valid` positions only: in place all others are left as they are.
    """

    def __init__(
        self,
        keys: torch.Tensor,
        values: torch.Tensor,
        start: torch.Tensor,
        sliding: bool,
        in_place: bool = False,
        valid: Any = None,
    ) -> None:
        super().__init__(keys.shape[2] if valid is None else valid, sliding)
        self.in_place = in_place
        self.keys, self.values, self.length = keys, values, start
        self.rows: tuple[torch.Tensor, torch.Tensor] | None = None

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The keys and values of all positions, with the new rows in place."""
        if self.in_place:
            self.keys = WRITE_ROWS(self.keys, key_states, self.length)
            self.values = WRITE_ROWS(self.values, value_states, self.length)
            return self._valid(self.keys), self._valid(self.values)
        self.rows = key_states, value_states
        return self._with(self.keys, key_states), self._with(self.values, value_states)

    def _valid(self, cache: torch.Tensor) -> torch.Tensor:
        # Where that is all of them, no slice.
        whole = isinstance(self.positions, int) and self.positions == cache.shape[2]
        return cache if whole else cache[:, :, : self.positions]

    def _with(self, cache: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        # Not by writing to places: that moves the whole tensor, and this can be part of what reads it.
        cache = self._valid(cache)
        place = torch.arange(self.positions, device=rows.device) - self.length
        count = rows.shape[2]
        new = rows.index_select(2, place.clamp(min=0, max=count - 1))
        written = (place >= 0) & (place < count)
        return torch.where(written[None, None, :, None], new, cache)


@dataclass(eq=False)
class Memory:
    """The blocks of a cache for a number of sequences, and what was captured with them.

    Attributes:
        blocks: [G,B,heads,M,dim] for each size of `Layout.groups`.
        steps: the CUDA graphs of steps of one token on these blocks, by the shapes of what they take.
    """

    layout: Layout
    batch: int
    device: torch.device
    blocks: list[torch.Tensor]
    steps: dict[Any, Any] = field(default_factory=dict)


@dataclass
class Pool:
    """Memory of caches that are gone, for new ones: CUDA graphs are bound to its addresses."""

    _free: list[Memory] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, layout: Layout, batch: int, device: torch.device) -> Memory:
        """Memory for a number of sequences. What it holds is of no meaning, and finite."""
        with self._lock:
            for index, memory in enumerate(self._free):
                if (memory.layout, memory.batch, memory.device) == (layout, batch, device):
                    return self._free.pop(index)
            self._free.clear()
        blocks = [
            torch.zeros((len(numbers), batch, heads, layout.positions, dim), dtype=layout.dtype, device=device)
            for (heads, dim), numbers in layout.groups.items()
        ]
        return Memory(layout, batch, device, blocks)

    def give_back(self, memory: Memory) -> None:
        """Keep memory for the next cache."""
        with self._lock:
            self._free.append(memory)


class CompiledCache(Cache):
    """The keys and values of one generation, in tensors of a fixed number of positions.

    Memory is taken at the first step, for the number of sequences that it has. Generations with caches of their own do
    not touch each other.

    Attributes:
        length: how many positions are filled.
        max_cache_len: how many there are.
    """

    def __init__(self, layout: Layout, device: torch.device, pool: Pool | None = None) -> None:
        super().__init__(layers=[Layer(layout.positions, slot.sliding) for slot in layout.slots])
        self.layout, self.target = layout, device
        self.length = 0
        self.blocks: list[torch.Tensor] = []
        self.memory: Memory | None = None
        self._pool = pool or Pool()

    @property
    def max_cache_len(self) -> int:
        """How many positions there are."""
        return self.layout.positions

    @property
    def is_compileable(self) -> bool:
        """False: `generate` must not compile what is compiled."""
        return False

    def get_seq_length(self, *args: Any, **kwargs: Any) -> int:
        """How many positions are filled."""
        return self.length

    def get_max_length(self, *args: Any, **kwargs: Any) -> int:
        """How many positions there are."""
        return self.layout.positions

    get_max_cache_shape = get_max_length

    def allocate(self, batch: int) -> None:
        """Take memory for a number of sequences, at the first step; later ones must have as many.

        Raises:
            UserError: the cache holds another number of sequences.
        """
        if self.blocks:
            held = self.blocks[0].shape[1]
            if held != batch:
                raise UserError(f"this cache holds {held} sequences, and the call has {batch}: use a new cache.")
            return
        self.memory = self._pool.take(self.layout, batch, self.target)
        self.blocks = self.memory.blocks
        weakref.finalize(self, self._pool.give_back, self.memory)

    def tensors(self) -> list[torch.Tensor]:
        """Keys and values of every layer, [B, heads, M, dim], as views of the blocks."""
        found: dict[int, torch.Tensor] = {}
        for block, numbers in zip(self.blocks, self.layout.groups.values(), strict=True):
            found.update(zip(numbers, block.unbind(0), strict=True))
        return [found[number] for number in range(len(found))]

    def write(self, results: Sequence[torch.Tensor], count: int) -> None:
        """Append what a step of `count` tokens returned.

        That is one tensor [G, B, heads, S, dim] of rows for each block, or, in place, what `tensors` gives.
        """
        if self.layout.in_place:
            for tensor, new in zip(self.tensors(), results, strict=True):
                # Where no engine could write in place, the result is a cache of its own.
                if new.data_ptr() != tensor.data_ptr():
                    tensor.copy_(new)
        else:
            for block, new in zip(self.blocks, results, strict=True):
                block[:, :, :, self.length : self.length + count].copy_(new)
        self.length += count

    def captured(self) -> Memory | None:
        """The memory whose step can be a CUDA graph: that which was taken at first."""
        return self.memory if self.memory is not None and self.blocks is self.memory.blocks else None

    def reset(self) -> None:
        """Forget everything; the memory stays."""
        self.length = 0

    def crop(self, tokens: int) -> None:
        """Remove the last positions: minus as many; a positive number says how many to keep."""
        self.length = max(0, self.length + tokens) if tokens <= 0 else min(self.length, tokens)

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Let each sequence go on from another one (beam search), in the same memory."""
        for block in self.blocks:
            block.copy_(block.index_select(1, beam_idx.to(block.device)))

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep these sequences, in this order."""
        self.blocks = [block.index_select(1, indices.to(block.device)) for block in self.blocks]

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat every sequence."""
        self.blocks = [block.repeat_interleave(repeats, dim=1) for block in self.blocks]
