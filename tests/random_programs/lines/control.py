"""Statements with control flow, as templates; `{N}` is a number that makes names new, `out{N}` the result."""

CONTROL = (
    "out{N} = {x}\nfor step in range({p}):\n    out{N} = torch.tanh(out{N} * 0.7) + step",
    "out{N} = {x}\n"
    "for step in range(3):\n"
    "    if step % 2:\n"
    "        out{N} = out{N} * 0.5\n"
    "    else:\n"
    "        out{N} = out{N} + {x}",
    "parts{N} = []\nfor step in range({p}):\n    parts{N}.append({x} * step)\nout{N} = torch.stack(parts{N})",
    "if {n} > 2:\n    out{N} = {x} * 2\nelse:\n    out{N} = {x} - 1",
    "if {x}.dim() == 3:\n    out{N} = {x}.mean(1)\nelse:\n    out{N} = {x} + 1",
    "if {x}.dtype == torch.float32 and not self.training:\n    out{N} = {x} * 2\nelse:\n    out{N} = {x} * 3",
    "out{N} = {x} * (2 if {x}.shape[-1] % 2 == 0 else 3)",
    "out{N} = torch.cond({x}.sum() > 0, lambda t: t * 2, lambda t: t - 1, ({x},))",
    "out{N} = torch.cond({x}.mean() > {c}, lambda a, b: a + b, lambda a, b: a * b, ({x}, {x} * 0.5))",
    "out{N} = torch.cond({x}.shape[0] > 2, lambda t: t.sin(), lambda t: t.cos(), ({x},))",
    "out{N} = torch.cond({b}.any(), lambda t: t.relu(), lambda t: -t, ({x},))",
    "def scaled(t, by=2.0):\n    return t * by + {c}\n\nout{N} = scaled({x}) - scaled({x}, by=0.5)",
    "pieces{N} = [piece * (index + 1) for index, piece in enumerate({x}.unbind(-1))]\n"
    "out{N} = torch.stack(pieces{N}, -1)",
    "store{N} = {{'a': {x}, 'b': {x} + 1}}\nout{N} = sum(store{N}.values())",
    "out{N} = {x}\nwhile out{N}.dim() < 4:\n    out{N} = out{N}.unsqueeze(0)",
    "h{N} = torch.zeros_like({x3}[:, 0])\n"
    "states{N} = []\n"
    "for t in range(3):\n"
    "    h{N} = torch.tanh(h{N} * 0.5 + {x3}[:, t % {x3}.shape[1]])\n"
    "    states{N}.append(h{N})\n"
    "out{N} = torch.stack(states{N}, 1)",
    "out{N} = torch.utils.checkpoint.checkpoint(lambda t: t.sin() * 2, {x}, use_reentrant=False)",
    "low{N}, high{N} = torch.aminmax({x})\nout{N} = ({x} - low{N}) / (high{N} - low{N} + 1)",
    "values{N}, indices{N} = {x}.sort(dim=-1, stable=True)\nout{N} = values{N} * indices{N}",
    "values{N}, indices{N} = {x}.max(0)\nout{N} = values{N} + indices{N}",
    "*rest{N}, out{N} = {x}.chunk(2, -1)",
    "first{N}, *rest{N} = {x}.split(1, 0)\nout{N} = first{N} * len(rest{N})",
    "out{N} = {x}.clone()\nfor step in range(2):\n    out{N}[step % out{N}.shape[0]] = out{N}[0] * 0.5 + step",
    "out{N} = {x}.clone()\nout{N}[..., 0] = out{N}[..., -1] * 2\nout{N}[..., -1:] += 1",
    "out{N} = torch.empty_like({x})\nout{N}[..., ::2] = {x}[..., ::2]\nout{N}[..., 1::2] = {x}[..., 1::2] * 2",
    "with torch.no_grad():\n    out{N} = {x}.detach() * 2",
    "with torch.autocast('cpu', enabled=False):\n    out{N} = {x}.float() * 2",
    "try:\n    out{N} = {x}.view(-1)\nexcept RuntimeError:\n    out{N} = {x}.reshape(-1)",
    "assert {x}.dim() > 0, 'a tensor'\nout{N} = {x} * 1",
    "torch._check({x}.shape[0] < 1000)\nout{N} = {x} + 0",
    "out{N} = {x}[: int({x}.shape[0] * 0.5)] if {x}.shape[0] > 1 else {x}",
    "def step(carry, item):\n"
    "    carry = carry * 0.5 + item\n"
    "    return carry, carry.clone()\n"
    "\n"
    "from torch._higher_order_ops.scan import scan\n"
    "last{N}, out{N} = scan(step, torch.zeros_like({x2}[0]), {x2})",
    "from torch._higher_order_ops.while_loop import while_loop\n"
    "count{N}, out{N} = while_loop(lambda k, t: k < 3, lambda k, t: (k + 1, t * 0.9), "
    "(torch.zeros((), dtype=torch.int64, device={x}.device), {x}))",
    # What the model makes itself, and writes to.
    "out{N} = torch.zeros(2, {x2}.shape[1], device={x2}.device)\n"
    "out{N}[0] = {x2}.sum(0)\nout{N}[1] += {x2}[0]\nout{N} = out{N} * 2",
    "out{N} = torch.ones({x}.shape, device={x}.device)\nout{N}[0] = {c}\nout{N} *= {x}\nout{N}[-1] = 1",
    "keep{N} = torch.ones({x}.shape, dtype=torch.bool, device={x}.device)\n"
    "keep{N} &= {x} > 0\nkeep{N}[..., 0] = False\n"
    "out{N} = {x}.masked_fill(keep{N}, {c})",
    # What it keeps in Python from call to call.
    "self.seen{N} = getattr(self, 'seen{N}', 0) + 1\nout{N} = {x} + 1",
    "self.last{N} = {x} * 2\nout{N} = self.last{N} + 1",
)

CELLS: tuple[tuple[str, str], ...] = (
    (
        "nn.GRUCell({D2}, 4)",
        "h{N} = {x3}.new_zeros({x3}.shape[0], 4)\n"
        "for t in range(3):\n"
        "    h{N} = {m}({x3}[:, t % {x3}.shape[1]], h{N})\n"
        "out{N} = h{N}",
    ),
    (
        "nn.LSTMCell({D2}, 3)",
        "h{N} = c{N} = torch.zeros({x3}.shape[0], 3, device={x3}.device, dtype={x3}.dtype)\n"
        "for t in range(2):\n"
        "    h{N}, c{N} = {m}({x3}[:, t], (h{N}, c{N}))\n"
        "out{N} = torch.cat([h{N}, c{N}], -1)",
    ),
    ("nn.RNNCell({D1}, {D1})", "h{N} = {x2}\nfor _ in range(2):\n    h{N} = {m}({x2}, h{N})\nout{N} = h{N}"),
    (
        "nn.ModuleList(nn.Linear({Dl}, {Dl}) for _ in range(3))",
        "out{N} = {x}\nfor layer in {m}:\n    out{N} = out{N} + F.relu(layer(out{N}))",
    ),
    (
        "nn.ModuleDict({{'a': nn.Linear({Dl}, 4), 'b': nn.Linear({Dl}, 4)}})",
        "out{N} = sum(part({x}) for part in {m}.values())",
    ),
    (
        "nn.ParameterList([torch.ones({Dl}), torch.zeros({Dl})])",
        "out{N} = {x}\nfor weight in {m}:\n    out{N} = out{N} * 0.5 + weight",
    ),
    ("nn.utils.parametrizations.weight_norm(nn.Linear({Dl}, {o}))", "out{N} = {m}({x})"),
    ("nn.utils.parametrizations.spectral_norm(nn.Linear({Dl}, {o}))", "out{N} = {m}({x})"),
)
"""A layer, and statements that call it."""
