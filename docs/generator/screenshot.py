"""The picture of a run's page in the README: `python -m docs.generator.screenshot`, with playwright and Chromium."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from click.testing import CliRunner
from playwright.sync_api import sync_playwright
from trt_passes.compiler.cli.main import main as command_line

ROOT = Path(__file__).parents[2]
PICTURE = ROOT / "docs" / "images" / "page.png"


def screenshot(folder: Path, picture: Path) -> None:
    """Take the picture of the page of a dump, with a node chosen that stays in PyTorch."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 800})
        page.goto(f"{(folder / 'index.html').as_uri()}#node=_linalg_svd")
        page.wait_for_selector("svg .box, svg [id^=box]")
        page.wait_for_timeout(2000)
        page.screenshot(path=str(picture))
        browser.close()


def main() -> None:
    """Run the example with a dump, and take the picture of its page."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "dump"
        example = f"{ROOT / 'examples' / 'fallbacks.py'}:model"
        done = CliRunner().invoke(command_line, ["run", example, "--dump-dir", str(folder)])
        if done.exit_code:
            raise SystemExit(done.output)
        screenshot(folder, PICTURE)


if __name__ == "__main__":
    main()
