"""Results as JUnit XML, which services of continuous integration show."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from ..errors import UserError

_NOT_IN_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_junit(path: Path, suite: str, cases: Sequence[tuple[str, str]]) -> None:
    """Write a suite of test cases.

    Args:
        path: of the file.
        suite: name of the suite, which stands for the model.
        cases: each with its name and, if it failed, why.

    Raises:
        UserError: the file cannot be written.
    """
    failures = sum(bool(text) for _, text in cases)
    counts = {"tests": str(len(cases)), "failures": str(failures), "errors": "0"}
    root = ElementTree.Element("testsuites", counts)
    group = ElementTree.SubElement(root, "testsuite", {"name": _clean(suite), **counts})
    for name, text in cases:
        case = ElementTree.SubElement(group, "testcase", {"classname": _clean(suite), "name": _clean(name)})
        if text:
            failure = ElementTree.SubElement(case, "failure", {"message": _clean(text.splitlines()[0])})
            failure.text = _clean(text)
    ElementTree.indent(root)
    try:
        ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}; name another file.") from error


def _clean(text: str) -> str:
    """The text without characters that XML cannot hold."""
    return _NOT_IN_XML.sub("\ufffd", text)
