"""A transformers model whose `forward` runs compiled programs: everything else of it is transformers' own."""

from __future__ import annotations

import copy
import functools
import inspect
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import nn
from torch.utils import _pytree as pytree
from transformers.modeling_outputs import CausalLMOutputWithPast, Seq2SeqLMOutput

from ..compiler.errors import UserError
from ..compiler.ir.dtypes import from_short_name, short_name
from ..compiler.runtime.cuda_graphs.recorder import CannotCapture
from .cache import CompiledCache, Layout, Pool
from .encoder import CompiledEncoder
from .images import Images, rows_of_images
from .seq2seq import CROSS, Source
from .step import cache_argument
from .step_graph import StepGraph

TOKEN = "token"
"""The program for a step of one token of one sequence, where it has one of its own."""

_FEWEST_READ = 64
"""Positions of the cache that a step of one token reads, at least."""

_MOST_GRAPHS = 16
"""CUDA graphs on the memory of one cache, at most: sources of every length have one of their own."""

_OTHER_CACHES = ("offloaded", "quantized", "paged")
"""What names of cache implementations have that say more than how a cache is made."""

_IGNORED = frozenset({"use_cache", "return_dict", "logits_to_keep", "output_attentions", "output_hidden_states"})
"""Arguments of a model's that change nothing here when they have no effect on logits: checked where they have."""


@dataclass(frozen=True)
class Plan:
    """What a model was compiled for.

    Attributes:
        model_class: the name of the model's class in transformers.
        layout: of the cache.
        batch: the most sequences.
        prefill: the most tokens that one step takes; longer prompts take several.
        all_logits: whether a step returns the logits of all its tokens, or of the last.
        positions: whether the model is told the positions of tokens.
        dtype: the data type of the model.
        cuda_graphs: whether steps of one token are replayed as CUDA graphs.
        source: what the encoder reads; None for a model without one.
        images: what the model reads as images; None if it reads none.
    """

    model_class: str
    layout: Layout
    batch: int
    prefill: int
    all_logits: bool
    positions: bool
    dtype: torch.dtype
    cuda_graphs: bool = False
    source: Source | None = None
    images: Images | None = None

    @property
    def block(self) -> int:
        """The positions of a block, of which a step of one token reads a whole number.

        Not half of all: a number from 1 to 2 is one that torch.export takes for 2.
        """
        block = math.gcd(self.layout.positions, _FEWEST_READ)
        return block // 2 if self.layout.positions == 2 * block else block

    def to_json(self) -> dict[str, Any]:
        """JSON-able values."""
        names = ("model_class", "batch", "prefill", "all_logits", "positions", "cuda_graphs")
        return {
            **{name: getattr(self, name) for name in names},
            "layout": self.layout.to_json(),
            "dtype": short_name(self.dtype),
            "source": None if self.source is None else self.source.to_json(),
            "images": None if self.images is None else self.images.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:
        """The plan that `to_json` wrote."""
        values = {**data, "layout": Layout.from_json(data["layout"]), "dtype": from_short_name(data["dtype"])}
        values["source"] = None if data.get("source") is None else Source.from_json(data["source"])
        values["images"] = None if data.get("images") is None else Images.from_json(data["images"])
        return cls(**values)


def class_named(name: str) -> type[Any]:
    """The model class of transformers with this name.

    Raises:
        UserError: there is none.
    """
    found = getattr(transformers, name, None)
    if not (isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)):
        raise UserError(f"transformers {transformers.__version__} has no model class {name!r}.")
    return found


_FETCHING = frozenset({"auto_map", "custom_pipelines", "quantization_config", "use_kernels", "kernel_config"})
"""Fields by which transformers finds code elsewhere, to be downloaded and run, beside those of implementations."""


def plain_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration of a model from a file that anyone may have written: sizes and choices, without ways to code.

    The model is made without weights, and its layers never compute, so that none of what is left out is needed.
    """
    return {
        name: plain_config(value) if isinstance(value, dict) else value
        for name, value in config.items()
        if name not in _FETCHING and "_implementation" not in name
    }


class CompiledGeneration:
    """What a compiled model has in place of its class's own: `forward`, the cache, and where it is.

    Attributes:
        plan: what it was compiled for.
        programs: the compiled programs, by name; see `report` on each.
        without_graphs: why steps cannot be CUDA graphs, once that was found.
    """

    plan: Plan
    programs: dict[str, Any]
    without_graphs: str | None
    _place: torch.device
    _pool: Pool

    @property
    def device(self) -> torch.device:
        """Where the programs run."""
        return self._place

    @property
    def dtype(self) -> torch.dtype:
        """The data type of the model that was compiled."""
        return self.plan.dtype

    def new_cache(self) -> CompiledCache:
        """An empty cache, for `generate` or for steps of one's own."""
        return CompiledCache(self.plan.layout, self._place, self._pool)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Any:
        probe = fn(torch.empty(0, device=self._place, dtype=self.plan.dtype))
        if probe.dtype != self.plan.dtype:
            raise UserError("a compiled model keeps its data type: compile a model of another.")
        for program in self.programs.values():
            program._apply(fn, recurse)
        self._place, self._pool = probe.device, Pool()
        return self

    def _prepare_cache_for_generation(
        self, generation_config: Any, model_kwargs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> None:
        """Give `generate` a cache of ours, in place of one that it would make."""
        name = cache_argument(type(self))
        given, kind = model_kwargs.get(name), generation_config.cache_implementation
        if kind is not None and any(word in kind for word in _OTHER_CACHES):
            raise UserError(f"cache_implementation={kind!r} is not possible: a compiled model has a cache of its own.")
        if given is None:
            if generation_config.use_cache is not False:
                model_kwargs[name] = self.new_cache()
        elif not isinstance(given, CompiledCache):
            raise UserError(f"{name} is a {type(given).__name__}: a compiled model needs what its new_cache() returns.")

    def _assisted_decoding(self, *args: Any, **kwargs: Any) -> Any:
        """Assisted decoding, which reads the logits of all tokens that were guessed."""
        if not self.plan.all_logits:
            raise UserError("assisted decoding needs the logits of all tokens: compile with all_logits=True.")
        return super()._assisted_decoding(*args, **kwargs)  # type: ignore[misc]

    def save_pretrained(self, *args: Any, **kwargs: Any) -> None:
        """Refused: the weights are in the programs.

        Raises:
            UserError: always; it says what to do.
        """
        raise UserError("a compiled model has no weights of its own class to save: use trt_passes.save(model, path).")

    push_to_hub = save_pretrained

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise UserError("a compiled model cannot be pickled: use trt_passes.save(model, path).")

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        config, generation = copy.deepcopy((self.config, self.generation_config), memo)  # type: ignore[attr-defined]
        programs = copy.deepcopy(self.programs, memo)
        return assembled(type(self).__mro__[2], config, generation, self.plan, programs, self._place)

    def _run(self, **arguments: Any) -> Any:
        """One call of `forward`, whose arguments were bound to the names that the model's class gives them."""
        given = {name: value for name, value in arguments.items() if value is not None}
        cache = given.pop(cache_argument(type(self)), None)
        for name in ("output_attentions", "output_hidden_states"):
            if given.get(name):
                raise UserError(f"{name}=True is not possible: a compiled model returns logits only.")
        more = {} if self.plan.source is None else self._of_source(given)
        ids = given.pop("input_ids", None)
        mask, positions = given.pop("attention_mask", None), given.pop("position_ids", None)
        pixels = None if self.plan.images is None else given.pop("pixel_values", None)
        other = sorted(set(given) - _IGNORED)
        if ids is None or other:
            named = other[0] if other else "input_ids"
            raise UserError(f"a compiled model takes input_ids, attention_mask and position_ids; not {named!r} so.")
        if cache is None or given.get("use_cache") is False:
            cache = self.new_cache()
        if not isinstance(cache, CompiledCache):
            raise UserError(f"the cache is a {type(cache).__name__}: give what new_cache() returns.")
        if self.plan.images is not None:
            more["image_rows"] = rows_of_images(self.plan.images, self.programs.get("images"), ids, pixels, self.dtype)
        logits = self._steps(ids, mask, positions, cache, more)
        kept = given.get("logits_to_keep")
        if not self.plan.all_logits and not (kept is None or (isinstance(kept, int) and kept in (0, 1))):
            raise UserError(f"logits_to_keep={kept} needs the logits of all tokens: compile with all_logits=True.")
        if isinstance(kept, int) and kept and kept < logits.shape[1]:
            logits = logits[:, -kept:]
        output = CausalLMOutputWithPast(logits=logits) if self.plan.source is None else Seq2SeqLMOutput(logits=logits)
        output[cache_argument(type(self))] = cache
        setattr(output, cache_argument(type(self)), cache)
        return output

    def _supports_mm_encoder_outputs(self) -> bool:
        """False: `generate` shall leave images to `forward`."""
        return False

    def get_encoder(self, *args: Any, **kwargs: Any) -> Any:
        """The encoder, for `generate`: compiled, with what the decoder makes of its result."""
        own = super().get_encoder(*args, **kwargs)  # type: ignore[misc]
        return own if self.plan.source is None else CompiledEncoder(own, self.plan.source, self.programs["encode"])

    def _of_source(self, given: dict[str, Any]) -> dict[str, Any]:
        """Take what belongs to the encoder out of the arguments, and name the decoder's as without an encoder."""
        source = self.plan.source
        assert source is not None
        encoded, read, mask = (given.pop(name, None) for name in ("encoder_outputs", source.argument, "attention_mask"))
        if encoded is None and read is not None:
            encoded = self.get_encoder()(read, attention_mask=mask)
        if encoded is None or f"{CROSS}0" not in encoded:
            raise UserError(f"a compiled model takes {source.argument}, or what its get_encoder()(…) returned.")
        for name in ("input_ids", "attention_mask", "position_ids"):
            if given.get(f"decoder_{name}") is not None:
                given[name] = given.pop(f"decoder_{name}")
        cross = [encoded[f"{CROSS}{number}"] for number in range(len(source.groups))]
        if not source.has_tokens:
            return {"cross": cross}
        batch, _, _, length, _ = cross[0].shape
        if mask is None:
            mask = torch.ones((batch, length), dtype=torch.int64, device=cross[0].device)
        return {"cross": cross, "source_mask": mask.to(torch.int64)}

    def _steps(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor | None,
        positions: torch.Tensor | None,
        cache: CompiledCache,
        more: dict[str, Any],
    ) -> torch.Tensor:
        """The logits of some tokens, in steps of at most `prefill` of them."""
        plan = self.plan
        batch, count = ids.shape
        self._check(batch, count, cache)
        cache.allocate(batch)
        start = cache.length
        mask = _whole_mask(mask, batch, start + count, plan.layout.positions, ids.device)
        if plan.positions and positions is None:
            positions = torch.arange(start, start + count, device=ids.device).expand(batch, count)
        logits = []
        for first in range(0, count, plan.prefill):
            part = slice(first, first + plan.prefill)
            inputs = {"input_ids": ids[:, part].to(torch.int64).contiguous(), "attention_mask": mask, **more}
            if "image_rows" in more:
                inputs["image_rows"] = more["image_rows"][:, part].contiguous()
            inputs["start"] = torch.full((1,), cache.length, dtype=torch.int64, device=ids.device)
            if plan.positions:
                assert positions is not None
                inputs["position_ids"] = positions[:, part].expand(batch, -1).contiguous()
            logits.append(self._step(inputs, cache))
        if not plan.all_logits:
            return logits[-1]
        return logits[0] if len(logits) == 1 else torch.cat(logits, dim=1)

    def _step(self, inputs: dict[str, torch.Tensor], cache: CompiledCache) -> torch.Tensor:
        program = self.programs["step"]
        if TOKEN in self.programs and inputs["input_ids"].numel() == 1:
            program = self.programs[TOKEN]
            read = _positions_read(cache.length + 1, self.plan.layout.positions)
            inputs["attention_mask"] = inputs["attention_mask"][:, :read].reshape(1, -1, self.plan.block)
        graph = self._graph_of(program, inputs, cache)
        if graph is not None:
            logits: torch.Tensor = graph(inputs)
            cache.length += 1
            return logits
        logits, *rows = program(**inputs, caches=cache.tensors())
        cache.write(rows, inputs["input_ids"].shape[1])
        return logits

    def _graph_of(self, program: Any, inputs: dict[str, torch.Tensor], cache: CompiledCache) -> StepGraph | None:
        """The CUDA graph of a step of one token on the memory of a cache; None for other steps."""
        asked = self.plan.cuda_graphs and self._place.type == "cuda" and self.without_graphs is None
        memory = cache.captured() if asked and inputs["input_ids"].shape[1] == 1 else None
        if memory is None:
            return None
        shapes = tuple(tuple(tensor.shape) for tensor in pytree.tree_leaves(inputs))
        if shapes not in memory.steps:
            while len(memory.steps) >= _MOST_GRAPHS:
                del memory.steps[next(iter(memory.steps))]
            try:
                memory.steps[shapes] = StepGraph(program, inputs, cache)
            except CannotCapture as error:
                self.without_graphs = str(error)
                warnings.warn(f"steps run without CUDA graphs, because {error}.", RuntimeWarning, stacklevel=2)
                return None
        found: StepGraph = memory.steps[shapes]
        return found

    def _check(self, batch: int, count: int, cache: CompiledCache) -> None:
        plan = self.plan
        if batch > plan.batch:
            raise UserError(
                f"the call has {batch} sequences (texts times beams), and the model was compiled for up to "
                f"{plan.batch}: compile it with batch={batch}."
            )
        if cache.length + count > plan.layout.positions:
            raise UserError(
                f"the cache has {plan.layout.positions} positions, of which {cache.length} are filled, and the call "
                f"has {count} more tokens: compile with a larger max_cache_len, or generate fewer tokens."
            )


def _positions_read(filled: int, positions: int) -> int:
    """How many positions a step of one token reads: one of some eight numbers, each of which has a CUDA graph."""
    part = max(_FEWEST_READ, 1 << (positions // 8).bit_length() - 1)
    return min(positions, -(-filled // part) * part)


def _whole_mask(
    mask: torch.Tensor | None, batch: int, filled: int, positions: int, device: torch.device
) -> torch.Tensor:
    """A mask of tokens, i64[B,filled] or None, for all positions of a cache; those to come are hidden."""
    if mask is not None and (mask.dim() != 2 or mask.shape[1] < filled):
        raise UserError(
            f"attention_mask has the shape {list(mask.shape)}: give one of [sequences, {filled}], with 1 for every "
            "position that holds a token and 0 for padding."
        )
    whole = torch.zeros((batch, positions), dtype=torch.int64, device=device)
    whole[:, :filled] = 1 if mask is None else mask[:, :filled].to(torch.int64)
    return whole


@functools.cache
def compiled_class(base: type[Any]) -> type[Any]:
    """A subclass of a model class whose instances run compiled programs."""
    signature = inspect.signature(base.forward)

    def forward(self: Any, *args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(self, *args, **kwargs).arguments
        bound.pop("self")
        for name, parameter in signature.parameters.items():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                bound.update(bound.pop(name, {}))
        return self._run(**bound)

    forward.__doc__ = "Logits for new tokens, from compiled programs; arguments as for the model's class."
    forward.__signature__ = signature  # type: ignore[attr-defined]
    namespace = {"forward": forward, "__doc__": f"A compiled {base.__name__}."}
    return type(f"Compiled{base.__name__}", (CompiledGeneration, base), namespace)


def assembled(
    base: Any, config: Any, generation_config: Any, plan: Plan, programs: Mapping[str, nn.Module], place: Any
) -> Any:
    """A model of a class without weights (they are on the meta device), with compiled programs in their place."""
    cls = compiled_class(base)
    with torch.device("meta"):
        model = cls(config)
    model.eval()
    vars(model).update(
        plan=plan, programs=dict(programs), _place=torch.device(place), _pool=Pool(), without_graphs=None
    )
    if generation_config is not None:
        model.generation_config = generation_config
    return model
