"""`acc_tracer.trace`: a module as `torch.fx.symbolic_trace` takes it."""

from trt_passes.compiler.compat.fx_front_end import traced as trace

__all__ = ["trace"]
