"""Display in notebooks: the one place where an import runs upwards, to the pictures, and only once somebody looks."""

from __future__ import annotations

from typing import Any, ClassVar


class ShownInNotebooks:
    """What shows itself in Jupyter, as a picture or a table, and as text."""

    shown_by: ClassVar[str]
    """The function of `visualize/notebook.py` that makes the content of `_repr_mimebundle_` from the object."""

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """The object by MIME type: "text/plain" always, a picture or a table where it can be made."""
        bundle: dict[str, str] = getattr(_notebook(), self.shown_by)(self)
        return bundle

    def _display(self, part: str) -> None:
        """Display a part of the object in a notebook; print it as text elsewhere."""
        _notebook().show(self, part)


def _notebook() -> Any:
    from ...visualize import notebook

    return notebook
