"""`generate` of a compiled model: what transformers offers, caches, limits, files, mistakes."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as tf
import trt_passes as tp
from trt_passes.compiler.runtime.saving.save import to_bytes
from trt_passes.transformers import CompiledCache, compile_for_generation

from .models import decoder
from .test_decoders import GREEDY, padded, tokens

POSITIONS = 40


@pytest.fixture(scope="module")
def model() -> Any:
    return decoder("llama")


@pytest.fixture(scope="module")
def compiled(model: Any) -> Any:
    options: dict[str, Any] = {"all_logits": True, "executor": "reference", "min_block_size": 1, "token_engine": True}
    return compile_for_generation(model, max_cache_len=POSITIONS, batch=6, prefill=16, **options)


def answers(model: Any, **options: Any) -> torch.Tensor:
    """What a model says to the padded prompts."""
    ids, mask = padded()
    torch.manual_seed(3)
    result: torch.Tensor = model.generate(ids, attention_mask=mask, pad_token_id=0, **options)
    return result


OPTIONS: dict[str, dict[str, Any]] = {
    "greedy": {"do_sample": False},
    "sampling": {"do_sample": True, "temperature": 1.5, "top_k": 20},
    "beams": {"do_sample": False, "num_beams": 2},
    "several answers": {"do_sample": True, "num_return_sequences": 2},
    "an end token": {"do_sample": False, "eos_token_id": [9, 68]},
    "no repetition": {"do_sample": False, "repetition_penalty": 1.3, "no_repeat_ngram_size": 2},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_ways_to_generate(model: Any, compiled: Any, options: dict[str, Any]) -> None:
    assert torch.equal(answers(compiled, max_new_tokens=8, **options), answers(model, max_new_tokens=8, **options))


def test_scores_and_streamers(model: Any, compiled: Any) -> None:
    class Collected(tf.generation.BaseStreamer):  # type: ignore[misc]
        def __init__(self) -> None:
            self.parts: list[torch.Tensor] = []

        def put(self, value: torch.Tensor) -> None:
            self.parts.append(value.reshape(-1))

        def end(self) -> None:
            self.parts.append(torch.tensor([-1]))

    ids = tokens(1, 5)
    found = []
    for item in (model, compiled):
        streamer = Collected()
        options = {"return_dict_in_generate": True, "output_logits": True, "max_new_tokens": 5, **GREEDY}
        result = item.generate(ids, streamer=streamer, **options)
        found.append((torch.cat(streamer.parts), torch.cat(result.logits)))
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-4, atol=1e-4)


def test_tokens_looked_up_in_the_prompt(model: Any, compiled: Any) -> None:
    ids = tokens(1, 4).repeat(1, 3)
    options = {"prompt_lookup_num_tokens": 3, "max_new_tokens": 8, **GREEDY}
    assert torch.equal(compiled.generate(ids, **options), model.generate(ids, **options))


def test_the_cache_is_filled_to_the_last_position_and_no_further(model: Any, compiled: Any) -> None:
    ids = tokens(1, POSITIONS - 4)
    # The last token that is generated is not read any more.
    expected, got = (item.generate(ids, max_new_tokens=5, **GREEDY) for item in (model, compiled))
    assert torch.equal(got, expected)
    with pytest.raises(tp.UserError, match=r"40 positions, of which 40 are filled.*larger max_cache_len"):
        compiled.generate(ids, max_new_tokens=6, **GREEDY)


def test_two_generations_take_turns(model: Any, compiled: Any) -> None:
    prompts = [tokens(1, 5), tokens(1, 7)]
    caches = [compiled.new_cache() for _ in prompts]
    rows = list(prompts)
    for step in range(6):
        for number, cache in enumerate(caches):
            given = rows[number] if not step else rows[number][:, -1:]
            output = compiled(given, **{_cache_name(compiled): cache})
            rows[number] = torch.cat([rows[number], output.logits[:, -1:].argmax(-1)], dim=1)
    for prompt, row in zip(prompts, rows, strict=True):
        assert torch.equal(row, model.generate(prompt, max_new_tokens=6, **GREEDY))


def _cache_name(model: Any) -> str:
    from trt_passes.generation.step import cache_argument

    return cache_argument(type(model))


def test_a_cache_that_was_reset_is_empty(model: Any, compiled: Any) -> None:
    cache = compiled.new_cache()
    assert isinstance(cache, CompiledCache)
    for length in (9, 4):
        cache.reset()
        ids = tokens(1, length)
        got = compiled.generate(ids, max_new_tokens=5, **{_cache_name(compiled): cache}, **GREEDY)
        assert torch.equal(got, model.generate(ids, max_new_tokens=5, **GREEDY))


def test_a_thread_each(model: Any, compiled: Any) -> None:
    found: dict[int, torch.Tensor] = {}

    def run(length: int) -> None:
        found[length] = compiled.generate(tokens(1, length), max_new_tokens=6, **GREEDY)

    threads = [threading.Thread(target=run, args=(length,)) for length in (3, 8, 13)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for length, got in found.items():
        assert torch.equal(got, model.generate(tokens(1, length), max_new_tokens=6, **GREEDY))
    assert len(found) == 3


def test_one_file_without_the_model(model: Any, compiled: Any, tmp_path: Path) -> None:
    path = tmp_path / "llama.pt2"
    tp.save(compiled, path)
    assert torch.equal(answers(tp.load(path, executor="pytorch"), max_new_tokens=6), answers(model, max_new_tokens=6))
    code = (
        "import sys, torch, trt_passes as tp; model = tp.load(sys.argv[1], executor='pytorch');"
        "ids = torch.tensor([[5, 6, 7]]);"
        "print(model.generate(ids, max_new_tokens=4, do_sample=False, pad_token_id=0)[0].tolist())"
    )
    printed = subprocess.run([sys.executable, "-c", code, str(path)], check=True, capture_output=True, text=True)
    expected = model.generate(torch.tensor([[5, 6, 7]]), max_new_tokens=4, **GREEDY)[0].tolist()
    assert printed.stdout.strip() == str(expected)


def test_weights_are_there_once(model: Any, compiled: Any, tmp_path: Path) -> None:
    tp.save(compiled, tmp_path / "llama.pt2")
    for item in (compiled, tp.load(tmp_path / "llama.pt2", executor="pytorch")):
        first, second = (dict(item.programs[name].named_parameters()) for name in ("step", "token"))
        matrices = [name for name, weight in first.items() if weight.dim() == 2]
        assert sum(first[name].nbytes for name in matrices) > 0.99 * sum(item.nbytes for item in model.parameters())
        assert all(first[name] is second[name] for name in matrices)
    own = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    assert all(weight.untyped_storage().data_ptr() in own for weight in compiled.programs["step"].parameters())
    with zipfile.ZipFile(tmp_path / "llama.pt2") as archive:
        sizes = {name: len(archive.read(name)) for name in archive.namelist()}
    weights = sum(weight.nbytes for weight in model.parameters())
    assert sizes["programs/token.pt2"] < len(to_bytes(compiled.programs["token"])) - weights / 2


def test_a_damaged_file(compiled: Any, tmp_path: Path) -> None:
    path = tmp_path / "llama.pt2"
    tp.save(compiled, path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(tp.UserError, match="damaged"):
        tp.load(path)


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "no cache": ({"max_cache_len": 0}, "max_cache_len is 0: give a whole number of at least 1"),
    "a prompt longer than the cache": ({"max_cache_len": 8, "prefill": 9}, "prefill is 9, more than the 8 positions"),
    "no number": ({"max_cache_len": 8, "batch": "4"}, "batch is '4'"),
    "an unknown setting": ({"max_cache_len": 8, "min_block": 3}, "min_block"),
}


@pytest.mark.parametrize(("options", "text"), MISTAKES.values(), ids=MISTAKES.keys())
def test_mistakes(model: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(tp.UserError, match=text):
        compile_for_generation(model, **options)


def test_what_cannot_be_compiled(compiled: Any) -> None:
    with pytest.raises(tp.UserError, match="compiled already"):
        compile_for_generation(compiled, max_cache_len=8)
    with pytest.raises(tp.UserError, match="a model of transformers that generates, not Linear"):
        compile_for_generation(torch.nn.Linear(2, 2), max_cache_len=8)
    mamba = tf.MambaForCausalLM(tf.MambaConfig(hidden_size=16, num_hidden_layers=1, vocab_size=20)).eval()
    with pytest.raises(tp.UserError, match="compile_config"):
        compile_for_generation(mamba, max_cache_len=8)
    mpt = tf.MptForCausalLM(tf.MptConfig(d_model=16, n_heads=2, n_layers=1, vocab_size=20)).eval()
    with pytest.raises(tp.UserError, match=r"modeling_mpt.py:\d+, and such models .* use compile_config"):
        compile_for_generation(mpt, max_cache_len=8)


def test_calls_that_cannot_be(compiled: Any) -> None:
    with pytest.raises(tp.UserError, match=r"8 sequences .* up to 6: compile it with batch=8"):
        compiled.generate(tokens(8, 3), max_new_tokens=2, **GREEDY)
    with pytest.raises(tp.UserError, match="output_attentions"):
        compiled(tokens(1, 3), output_attentions=True)
    with pytest.raises(tp.UserError, match="inputs_embeds"):
        compiled(inputs_embeds=torch.zeros(1, 3, 64))
    with pytest.raises(tp.UserError, match="new_cache"):
        compiled.generate(tokens(1, 3), max_new_tokens=2, **{_cache_name(compiled): tf.DynamicCache()}, **GREEDY)
    with pytest.raises(tp.UserError, match="keeps its data type"):
        compiled.half()


def test_what_is_not_done_otherwise_than_asked(model: Any, compiled: Any) -> None:
    last = compile_for_generation(model, max_cache_len=16, prefill=8, executor="pytorch")
    for item, options in ((last, {"prompt_lookup_num_tokens": 3}), (last, {"assistant_model": model})):
        with pytest.raises(tp.UserError, match="compile with all_logits=True"):
            item.generate(tokens(1, 4), max_new_tokens=4, **options, **GREEDY)
    with pytest.raises(tp.UserError, match=r"logits_to_keep=2 .* all_logits=True"):
        last(tokens(1, 4), logits_to_keep=2)
    with pytest.raises(tp.UserError, match="cache_implementation='offloaded'"):
        compiled.generate(tokens(1, 3), cache_implementation="offloaded", max_new_tokens=2, **GREEDY)
    with pytest.raises(tp.UserError, match=r"use trt_passes\.save"):
        compiled.save_pretrained("x")
    with pytest.raises(tp.UserError, match=r"use trt_passes\.save"):
        pickle.dumps(compiled)


@pytest.mark.long
def test_without_a_cache_and_in_other_types(model: Any, compiled: Any) -> None:
    assert torch.equal(answers(compiled, max_new_tokens=5, use_cache=False), answers(model, max_new_tokens=5))
    ids = tokens(1, 5)
    expected = model.generate(ids, max_new_tokens=4, **GREEDY)
    assert torch.equal(compiled.generate(ids.int(), max_new_tokens=4, **GREEDY), expected)
    assert torch.equal(copy.deepcopy(compiled).generate(ids, max_new_tokens=4, **GREEDY), expected)


@pytest.mark.long
def test_what_becomes_of_the_model_does_not_matter() -> None:
    own = decoder("llama")
    compiled = compile_for_generation(own, max_cache_len=16, executor="pytorch", token_engine=True)
    ids = tokens(1, 5)
    expected = own.generate(ids, max_new_tokens=4, **GREEDY)
    own.half()
    assert torch.equal(compiled.generate(ids, max_new_tokens=4, **GREEDY), expected)
    with torch.no_grad():
        own.float().lm_head.weight.zero_()  # in memory of its own by now
    assert torch.equal(compiled.generate(ids, max_new_tokens=4, **GREEDY), expected)


@pytest.mark.long
def test_frequencies_that_grow() -> None:
    own = decoder("llama", rope_scaling={"rope_type": "dynamic", "factor": 2.0}, max_position_embeddings=16)
    with pytest.raises(tp.UserError, match="a max_cache_len of at most 16"):
        compile_for_generation(own, max_cache_len=17)
    compiled = compile_for_generation(own, max_cache_len=16, executor="pytorch")
    ids = tokens(1, 5)
    assert torch.equal(*(item.generate(ids, max_new_tokens=11, **GREEDY) for item in (own, compiled)))


@pytest.mark.long
def test_the_name_is_the_packages_own() -> None:
    code = (
        "import transformers, trt_passes.transformers as t; assert t.compile_for_generation; transformers.LlamaConfig"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(("dtype", "programs"), [(torch.float32, {"step"}), (torch.float16, {"step", "token"})])
def test_one_token_of_halves_has_an_engine_of_its_own(dtype: torch.dtype, programs: set[str]) -> None:
    # 128 positions are two blocks of 64, which torch.export would take for always two.
    compiled = compile_for_generation(decoder("llama").to(dtype), max_cache_len=128, executor="pytorch")
    assert set(compiled.programs) == programs
