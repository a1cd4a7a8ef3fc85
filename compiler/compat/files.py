"""`save` and `load` with the arguments of Torch-TensorRT, for what was compiled and for what is made of it."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram
from torch.utils import _pytree as pytree

from ..api import trace
from ..errors import did_you_mean, on_one_line
from ..frontends.exported_program import example_arguments, export_module
from ..frontends.given_arguments import is_declared
from ..frontends.program_file import load_program
from ..ir.collectives import LIBRARIES, Processes
from ..ir.input import Input as Declared
from ..ir.program import rebuild
from ..runtime.compiled_module import CompiledModule
from ..runtime.engine_graph import SPLICED, current_program
from ..runtime.save import load as load_module
from ..runtime.saving.save import RECORD_FILE
from ..runtime.saving.save import save as save_module
from ..runtime.whole_file import path_of, write_archive, write_whole
from .arguments import named, positional
from .made import remember
from .mistakes import InvalidType, InvalidValue, python_errors

FORMATS = ("exported_program", "torchscript", "aot_inductor")


class CompiledProgram(ExportedProgram):
    """A program that was read from a file; `module()` is the compiled module that `trt_passes.load` gives."""

    compiled: CompiledModule

    @classmethod
    def of(cls, compiled: CompiledModule) -> CompiledProgram:
        """The program of a compiled module."""
        program = rebuild(compiled.meta[SPLICED], compiled.meta[SPLICED].graph)
        program.__class__ = cls
        assert isinstance(program, cls)
        program.compiled = compiled
        return program

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the compiled module, so that who had one goes on as before."""
        return self.compiled(*args, **kwargs)

    def module(self, check_guards: bool = True) -> torch.fx.GraphModule:
        """The compiled module, on the CPU: move it with `.cuda()`. It checks its inputs itself."""
        return self.compiled


@python_errors
def save(
    module: Any,
    file_path: str | os.PathLike[str] = "",
    *,
    extra_files: Mapping[str, str] | None = None,
    output_format: str = "exported_program",
    inputs: Any = None,
    arg_inputs: Any = None,
    kwarg_inputs: Mapping[str, Any] | None = None,
    retrace: bool = True,
    use_legacy_exporter: bool | None = None,
    pickle_protocol: int = 2,
    dynamic_shapes: Any = None,
    **options: Any,
) -> None:
    """Write what was compiled to a file.

    What `compile` returned is written as it is: its program knows its inputs and how far their sizes vary, so that
    `retrace`, inputs and `dynamic_shapes` are needed only for other modules that call compiled ones.

    Args:
        module: what `compile` returned, an ExportedProgram, a ScriptModule, or a module that calls compiled modules.
        file_path: the file.
        extra_files: texts by name, which the file is to hold too.
        output_format: "exported_program", "torchscript" or "aot_inductor".
        inputs, arg_inputs, kwarg_inputs: `Input`s or examples, for a module that is exported first.
        retrace, use_legacy_exporter, pickle_protocol: how others write; a program is exported only if need be.
        dynamic_shapes: as for `torch.export.export`, for a module that is exported first.
        options: for torch.compile's inductor with "aot_inductor", as `inductor_configs`.

    Raises:
        UserError: the module has no such form, or the file cannot be written.
    """
    if not file_path:
        raise InvalidValue("save is given no path: name a file, such as 'model.ep'.")
    target = path_of(file_path)
    if output_format not in FORMATS:
        raise InvalidValue(f"output_format is {output_format!r}.{did_you_mean(str(output_format), FORMATS)}")
    args, kwargs = positional(inputs, arg_inputs), named(kwarg_inputs)
    module = getattr(module, "compiled", module) if isinstance(module, CompiledProgram) else module
    if isinstance(module, torch.jit.ScriptModule):
        if output_format != "torchscript":
            raise InvalidValue("a ScriptModule is saved as TorchScript: give output_format='torchscript'.")
        write_whole(target, [module.save_to_buffer(_extra_files=dict(extra_files or {}))])
    elif isinstance(module, CompiledModule) and output_format != "aot_inductor":
        save_module(module, target, output_format, extra_files=extra_files)
    elif output_format == "torchscript":
        _save_traced(module, target, args, kwargs, extra_files)
    else:
        program = _program(module, args, kwargs, dynamic_shapes)
        if output_format == "aot_inductor":
            _package(program, target, options.get("inductor_configs"))
        else:
            extra = dict(extra_files or {})
            write_archive(target, lambda file: torch.export.save(program, file, extra_files=extra))


def _save_traced(module: Any, target: Path, args: Any, kwargs: Any, extra: Mapping[str, str] | None) -> None:
    if not isinstance(module, torch.nn.Module):
        raise InvalidType(f"a {type(module).__name__} has no form in TorchScript: give a module.")
    if args is None:
        raise InvalidValue("the module is traced to be TorchScript: give inputs or arg_inputs.")
    examples, keywords = example_arguments(module, args, kwargs or {})
    with torch.no_grad():
        script = torch.jit.trace(  # type: ignore[no-untyped-call]
            module, example_inputs=examples if not keywords else None, example_kwarg_inputs=keywords or None
        )
    write_whole(target, [script.save_to_buffer(_extra_files=dict(extra or {}))])


def _program(module: Any, args: Any, kwargs: Any, dynamic_shapes: Any) -> ExportedProgram:
    """The module as an ExportedProgram, exported for its inputs unless it is one, or was compiled from one."""
    if isinstance(module, ExportedProgram):
        return module
    if isinstance(module, CompiledModule):
        program = current_program(module.meta[SPLICED], module)
        program.example_inputs = module.usual_arguments()
        return program
    if not isinstance(module, torch.nn.Module):
        raise InvalidType(f"a {type(module).__name__} cannot be saved: give what compile returned, or a module.")
    if args is None and kwargs is None:
        raise InvalidValue("the module is exported to be saved: give inputs, arg_inputs or kwarg_inputs.")
    if dynamic_shapes is None and any(_varies(leaf) for leaf in _leaves(args, kwargs)):
        return trace(module, args or (), kwargs).exported
    examples, keywords = example_arguments(module, args or (), kwargs or {})
    return export_module(module, examples, keywords, dynamic_shapes)


def _leaves(args: Any, kwargs: Any) -> list[Any]:
    return pytree.tree_leaves((args, kwargs), is_leaf=is_declared)


def _varies(leaf: Any) -> bool:
    return isinstance(leaf, Declared) and leaf.is_dynamic


def _package(program: ExportedProgram, target: Path, configs: Any) -> None:
    """A package of AOTInductor's; PyTorch names it by its suffix."""
    import torch._inductor

    if target.suffix != ".pt2":
        raise InvalidValue(f"AOTInductor writes packages to files that end in .pt2, not {target.name}.")
    torch._inductor.aoti_compile_and_package(program, package_path=os.fspath(target), inductor_configs=configs)


@python_errors
def load(file_path: str | os.PathLike[str] = "", extra_files: dict[str, Any] | None = None, **options: Any) -> Any:
    """Read what `save` wrote: an ExportedProgram, whose `module()` is called like the model, or a ScriptModule.

    Programs that PyTorch itself wrote are read as well, also those that call compiled ones.

    Args:
        file_path: the file.
        extra_files: texts that the file may hold; those that are named in it are filled in.
        options: "trust" for files that could run any code, and the options of `trt_passes.load`. Of its "operators",
            those that this process made by `torch.library.custom_op` need not be named.

    Raises:
        UserError: there is no such file, or it is none of these.
        ValueError: likewise, as Torch-TensorRT has it.
    """
    path = path_of(file_path)
    if not path.is_file():
        raise InvalidValue(f"{path} does not exist or is no file: give the file that save wrote.")
    names = _entries(path)
    if any(name.endswith("/constants.pkl") for name in names):
        script = torch.jit.load(os.fspath(path), _extra_files=extra_files)  # type: ignore[no-untyped-call]
        return remember(script)
    if extra_files:
        _fill(path, names, extra_files)
    if any(name.endswith(f"/extra/{RECORD_FILE}") for name in names):
        # Collectives send tensors to other processes, which were started for that.
        more = [*own_libraries(), *(() if Processes.here() is None else LIBRARIES)]
        if more:
            options = {**options, "operators": (*options.get("operators", ()), *more)}
        return CompiledProgram.of(remember(load_module(path, **options)))
    return load_program(os.fspath(path), bool(options.get("trust", False)), {})


def own_libraries() -> list[str]:
    """The libraries whose operators this process made by `torch.library.custom_op`, other than PyTorch's own.

    Files of Torch-TensorRT name them freely, and who made an operator here knows what it does.
    """
    made: dict[str, bool] = {}
    for name, item in [*torch._library.custom_ops.OPDEFS.items()]:
        library = name.partition("::")[0]
        module = str(getattr(getattr(item, "_init_fn", None), "__module__", "torch"))
        made[library] = made.get(library, True) and module.partition(".")[0] != "torch"
    return sorted(library for library, is_own in made.items() if is_own)


def _entries(path: Path) -> list[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except OSError:
        raise
    except Exception:  # damage in the list of entries raises errors of a dozen kinds
        raise InvalidValue(
            f"{path} holds neither an exported program nor TorchScript: give the file that save wrote."
        ) from None


def _fill(path: Path, names: list[str], texts: dict[str, Any]) -> None:
    with zipfile.ZipFile(path) as archive:
        for name in names:
            key = name.partition("/extra/")[2]
            if key in texts:
                try:
                    texts[key] = archive.read(name).decode("utf-8")
                except Exception as error:  # damage raises errors of a dozen kinds
                    raise InvalidValue(f"{path} is damaged ({on_one_line(error)}, in {name}): save it again.") from None
