"""What Python knows and changes outside of tensors: modes, defaults, random numbers; and what models ask of tensors.

`{N}` is a number that makes names new, `out{N}` the result.
"""

from __future__ import annotations

import re

_QUESTIONS = (
    "T.dim() == 2",
    "T.shape[0] > 2",
    "T.shape[-1] % 2 == 0",
    "T.numel() > 40",
    "len(T) > 3",
    "T.size(0) == T.size(-1)",
    "T.is_contiguous()",
    "T.stride(0) > T.stride(-1)",
    "T.stride()[-1] == 1",
    "T.storage_offset() == 0",
    "T.requires_grad",
    "T.is_leaf",
    "T.grad_fn is None",
    "T.is_inference()",
    "T.dtype == torch.float32",
    "T.dtype in (torch.float16, torch.bfloat16)",
    "T.is_floating_point()",
    "T.is_cuda",
    "T.device.type == 'cpu'",
    "T.element_size() == 4",
    "T.itemsize > 2",
    "T.nbytes > 100",
    "torch.is_grad_enabled()",
    "torch.is_inference_mode_enabled()",
    "torch.is_autocast_enabled('cpu')",
    "torch.get_default_dtype() == torch.float32",
    "torch.is_tensor(T)",
    "isinstance(T, nn.Parameter)",
    "type(T) is torch.nn.Parameter",
    "torch.is_nonzero(T.sum() * 0)",
    "self.training",
    "torch.jit.is_scripting()",
    "torch.compiler.is_compiling()",
    "torch.get_num_threads() > 0",
    "torch.are_deterministic_algorithms_enabled()",
    "hasattr(T, 'scale')",
    "T.ndim > 1 and T.shape[1] > 4",
    "not T.is_sparse and not T.is_complex()",
    "T.is_conj() or T.is_neg()",
    "T is not None",
    "(T.shape[0] + 1) // 2 > T.shape[-1] // 3",
    "T.shape == (2, 8) or T.shape[:1] == (3,)",
)

_PLACES = (
    "if Q({x}):\n    out{N} = {x} * 2\nelse:\n    out{N} = {x} - 1",
    "out{N} = {x} * (3 if Q({x}) else 5)",
    "out{N} = torch.cond({x}.sum() > 0, lambda t: t * 2 if Q(t) else t + 1, "
    "lambda t: t - 1 if Q(t) else t * 3, ({x},))",
    "def good{N}(t, u):\n"
    "    if Q(t):\n"
    "        return t + u\n"
    "    return t - u\n"
    "\n"
    "out{N} = torch.cond({x}.mean() > {c}, good{N}, lambda t, u: t * u, ({x}, {x} * 0.5))",
    "from torch._higher_order_ops.while_loop import while_loop\n"
    "count{N}, out{N} = while_loop(lambda k, t: k < 2, lambda k, t: (k + 1, t * 0.5 if Q(t) else t + 1), "
    "(torch.zeros((), dtype=torch.int64, device={x}.device), {x}.clone()))",
    "out{N} = torch.func.vmap(lambda t: t * 2 if Q(t) else t + 1)({x2})",
    "out{N} = torch.utils.checkpoint.checkpoint(lambda t: t.sin() if Q(t) else t.cos(), {x}, use_reentrant=False)",
    "out{N} = {x}\nfor step in range(3):\n    if Q(out{N}):\n        out{N} = (out{N} + step).sin()\n    else:\n"
    "        out{N} = out{N}.mT.contiguous()",
    "view{N} = {x}.mT\nout{N} = view{N} * 2 if Q(view{N}) else view{N} + 1",
    "half{N} = {x}.detach()[::2]\nout{N} = half{N} * 2 if Q(half{N}) else half{N} + 1",
)


_TENSOR = re.compile(r"\bT\b")
_NAMED = re.compile(r"Q\((\{?\w+(?:\{N\}|\})?)\)")


def _asked(place: str, question: str) -> str:
    """A statement with a question about its tensors."""
    return _NAMED.sub(lambda found: f"({_TENSOR.sub(found[1], question)})", place)


ASKED = tuple(
    _asked(_PLACES[(index + offset) % len(_PLACES)], question)
    for index, question in enumerate(_QUESTIONS)
    for offset in (0, 1, 3, 6)
)
"""Statements that ask tensors, modules and PyTorch something: in the model, in branches, loops and functions."""

STATE = (
    "out{N} = {x} * random.random()",
    "out{N} = {x} + random.randint(0, 3)",
    "out{N} = {x} * random.choice([1.0, 2.0])",
    "out{N} = {x} * np.random.rand()",
    "out{N} = {x} + float(np.random.randn())",
    "out{N} = {x} + np.random.randint(0, 4)",
    "random.seed(3)\nout{N} = {x} * random.random()",
    "np.random.seed(3)\nout{N} = {x} * np.random.rand()",
    "noise{N} = np.random.default_rng(5).normal()\nout{N} = {x} + float(noise{N})",
    "out{N} = {x} + torch.rand_like({x})",
    "out{N} = {x} + torch.rand((), device={x}.device)",
    "torch.manual_seed(3)\nout{N} = {x} + torch.randn_like({x})",
    "out{N} = {x} * np.float32(0.5)",
    "out{N} = {x} + np.int64(2)",
    "out{N} = {x} * np.pi + np.sqrt({x}.shape[0])",
    "table{N} = torch.from_numpy(np.arange(6, dtype=np.float32)).to({x}.device)\nout{N} = {x}.mean() + table{N}",
    "out{N} = {x} * torch.tensor(np.array([0.5]), dtype={x}.dtype, device={x}.device)",
    "before{N} = torch.get_default_dtype()\n"
    "torch.set_default_dtype(torch.float64)\n"
    "out{N} = torch.ones({x}.shape[-1], device={x}.device) + {x}\n"
    "torch.set_default_dtype(before{N})",
    "before{N} = torch.get_default_dtype()\n"
    "torch.set_default_dtype(torch.float16)\n"
    "out{N} = {x}.float() * torch.tensor(0.1, device={x}.device)\n"
    "torch.set_default_dtype(before{N})",
    "out{N} = {x} + torch.zeros(1, dtype=torch.get_default_dtype(), device={x}.device)",
    "out{N} = torch.arange({x}.shape[-1], device={x}.device) / 2 + {x}",
    "with torch.no_grad():\n    out{N} = {x} * 2\n    grad{N} = torch.is_grad_enabled()\nout{N} = out{N} + grad{N}",
    "with torch.enable_grad():\n    out{N} = {x} * (2 if torch.is_grad_enabled() else 3)",
    "with torch.set_grad_enabled(False):\n    out{N} = {x} + 1",
    "with torch.inference_mode():\n    out{N} = {x} * 2\nout{N} = out{N} + 1",
    "with torch.inference_mode(False):\n    out{N} = {x}.clone() * 2",
    "def inner{N}(t):\n    return t * (1 + torch.is_grad_enabled())\n\nout{N} = torch.no_grad()(inner{N})({x})",
    "with torch.enable_grad():\n"
    "    leaf{N} = {x}.detach().requires_grad_(True)\n"
    "    (out{N},) = torch.autograd.grad((leaf{N} * leaf{N}).sum(), leaf{N})",
    "out{N} = torch.func.grad(lambda t: t.sin().sum())({x})",
    "out{N} = {x}.detach()\nout{N} = out{N} + out{N}.requires_grad",
    "with torch.autocast('cpu', dtype=torch.bfloat16):\n    out{N} = {x} @ {x}.mT",
    "with torch.autocast('cpu', dtype=torch.bfloat16):\n    out{N} = ({x} * 2).softmax(-1)",
    "with torch.device({x}.device):\n    out{N} = {x} + torch.ones({x}.shape[-1])",
    "name{N} = f'{x}-{{len({x}.shape)}}'\nout{N} = {x} * len(name{N})",
    "out{N} = {x}\nfor key, by in {{'b': 2.0, 'a': 3.0}}.items():\n    out{N} = out{N} * by - len(key)",
    "found{N} = {{}}\nfound{N}['z'] = {x} * 2\nfound{N}['a'] = {x} + 1\nout{N} = torch.cat(list(found{N}.values()))",
    "kept{N} = sorted({{'b': {x}, 'a': {x} * 2}}.items(), key=lambda pair: pair[0])\nout{N} = kept{N}[0][1] - 1",
    "out{N} = {x} * sum(1 for size in {x}.shape if size > 1)",
    "out{N} = {x} * (lambda *a, by=2, **k: by + len(a) + len(k))(1, 2, c=3)",
    "self.calls{N} = getattr(self, 'calls{N}', [])\nself.calls{N}.append(1)\nout{N} = {x} * 2",
    "try:\n    out{N} = {x}[:, :, :, :, 0]\nexcept IndexError:\n    out{N} = {x} * 0.5",
    "out{N} = {x} if scale is None else {x} * scale",
    "out{N} = {x} * 2 if flag else {x} * 3",
    "out{N} = {x} + (0 if extra is None else extra)",
    "out{N} = {x}.repeat(count, *[1] * {x}.dim())",
    "out{N} = {x} * scale + count",
)
"""Statements that read or change what Python and PyTorch keep outside of tensors."""
