"""A real Chromium for the tests of pages: without a network, with a fresh profile, and with an eye on what goes wrong."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

CHROMIUM = os.environ.get("GRASPGEN_TEST_CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_HERE = ("127.0.0.1", "localhost", "")


@dataclass
class Visit:
    """One visit to a page: what it asked for elsewhere, and what it complained of."""

    page: Any
    abroad: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def pixels(self) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """(H, W, 3) what the page looks like."""
        return np.asarray(Image.open(io.BytesIO(self.page.screenshot())).convert("RGB"))


def require_browser() -> None:
    """Skips the test, and says why, where there is nothing to drive or nothing to drive it with."""
    pytest.importorskip("playwright.sync_api", reason="playwright is not installed; pip install playwright")
    if CHROMIUM is None:
        pytest.skip("no Chromium: apt-get install chromium, or name one in GRASPGEN_TEST_CHROMIUM")


@contextmanager
def visit(url: str, profile: Path, *, width: int = 1280, height: int = 800) -> Iterator[Visit]:
    """Opens a page in a Chromium of its own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(profile), executable_path=CHROMIUM, args=list(_ARGUMENTS), headless=True, viewport={"width": width, "height": height}
        )
        try:
            seen = Visit(context.new_page())
            context.on("request", lambda request: _note_abroad(seen, request.url))
            seen.page.on("websocket", lambda socket: _note_abroad(seen, socket.url))
            seen.page.on("pageerror", lambda error: seen.errors.append(str(error)))
            seen.page.on("console", lambda message: seen.errors.append(message.text) if message.type == "error" else None)
            seen.page.goto(url)
            yield seen
        finally:
            context.close()


def _note_abroad(seen: Visit, url: str) -> None:
    address = urlsplit(url)
    if address.scheme not in ("blob", "data", "file") and address.hostname not in _HERE:
        seen.abroad.append(url)
