"""A browser for the tests of the page: one for all of them, and pages that must stay without errors."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from trt_passes.visualize.page import data_of, page_html

from .programs import run, with_engine

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a dumped run without TensorRT."""
    folder = tmp_path_factory.mktemp("page") / "dump"
    run(folder)
    return folder


@pytest.fixture(scope="session")
def run_data(dump: Path) -> dict[str, Any]:
    """What the page of that run holds, with an engine added."""
    return with_engine(data_of((dump / "index.html").read_text(encoding="utf-8")))


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A headless Chromium; where there is none, the tests are skipped."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install trt-passes[test]")
    executable = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if executable is None:
        pytest.skip(f"needs a browser on PATH, one of {', '.join(BROWSERS)}")
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def open_file(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page from disk; the test fails if it logs an error, throws, or asks a network for anything."""
    problems: list[str] = []
    contexts: list[Any] = []

    def opened(path: Path, address: str = "", **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: problems.append(message.text) if message.type != "log" else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: problems.append(request.url) if request.url.startswith("http") else None)
        page.goto(f"{path.as_uri()}{address}")
        page.wait_for_selector(".pass")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert problems == []


@pytest.fixture
def open_data(open_file: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Opens the page of some data."""

    def opened(data: dict[str, Any], address: str = "", **options: Any) -> Any:
        path = tmp_path / "index.html"
        path.write_text(page_html(data), encoding="utf-8")
        return open_file(path, address, **options)

    return opened


@pytest.fixture
def page(open_data: Callable[..., Any], run_data: dict[str, Any]) -> Any:
    """The page of the run, with its graph drawn."""
    opened = open_data(run_data)
    opened.wait_for_selector(".scene")
    return opened
