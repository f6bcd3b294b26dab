"""The page of `graspgen view` in a real Chromium: it shows what it should, complains of nothing and asks nobody else."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browser import Visit, require_browser, visit
from examples import OBJECTS
from graspgen_cli.drawing.colours import OBJECT, OUTCOMES
from graspgen_cli.records import Outcome
from test_drawing import near

pytestmark = pytest.mark.browser
PATIENCE = 60.0
"""s: software rendering on a busy machine."""
PANEL = 880
"""Pixels from the left at which the page's controls begin."""

INTERRUPTIBLE = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
"""A shell starts what it runs in the background with SIGINT ignored, and so would be what the tests start."""


@pytest.fixture(autouse=True)
def browser_there() -> None:
    require_browser()
    pytest.importorskip("viser", reason="viser is not installed")


@contextmanager
def served(*arguments: object) -> Iterator[str]:
    """`graspgen view` as a user starts it; ends it as a user does, and finds that it ends well."""
    command = [sys.executable, "-m", "graspgen_cli", "view", *map(str, arguments), "--object-dataset", str(OBJECTS), "--quiet"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=INTERRUPTIBLE)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("address: http://127.0.0.1:"), line
        yield line.removeprefix("address: ").strip()
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=20)
        assert (process.returncode, output, errors) == (0, "", "")
    finally:
        process.kill()


def wait_for(seen: Visit, condition: Callable[[np.ndarray[Any, Any]], bool], what: str) -> np.ndarray[Any, Any]:
    """The picture of the scene, left of the controls, as soon as it meets a condition."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        pixels = seen.pixels()[160:, :PANEL].astype(float)  # below the browser's own warning of slow graphics
        if condition(pixels):
            return pixels
        time.sleep(0.3)
    raise AssertionError(f"not within {PATIENCE:.0f} s: {what}")


def amount(pixels: np.ndarray[Any, Any], outcome: Outcome) -> int:
    return int(near(pixels, OUTCOMES[outcome], 0.12).sum())


def test_the_page_shows_object_and_grasps_and_filters_them(made_dataset: Path, tmp_path: Path) -> None:
    with served(made_dataset, "--object", "box", "--port", 18080) as url, visit(url, tmp_path) as seen:
        seen.page.get_by_label("Only this one").wait_for()
        whole = wait_for(seen, lambda p: amount(p, Outcome.HELD) > 200 and amount(p, Outcome.COLLISION) > 60, "held and colliding grasps")
        assert near(whole, OBJECT, 0.06).sum() > 500, "the box"
        seen.page.get_by_label("collision (2)").click()
        without = wait_for(seen, lambda p: amount(p, Outcome.COLLISION) < 20, "no colliding grasps")
        assert amount(without, Outcome.HELD) > 0.8 * amount(whole, Outcome.HELD)
        assert (np.abs(without - whole).max(axis=-1) > 40).sum() > 60
        seen.page.get_by_label("collision (2)").click()
        again = wait_for(seen, lambda p: amount(p, Outcome.COLLISION) > 60, "colliding grasps again")
        assert (np.abs(again - whole).max(axis=-1) > 40).sum() < 30, "the same as before"
        assert seen.errors == [] and seen.abroad == []


def test_search_slider_and_click_choose_what_is_told(made_dataset: Path, tmp_path: Path) -> None:
    with served(made_dataset, "--object", "box", "--port", 18090) as url, visit(url, tmp_path) as seen:
        wait_for(seen, lambda p: amount(p, Outcome.HELD) > 200, "grasps")
        number = seen.page.locator("input[type=text]").last
        number.fill("3")
        number.press("Enter")
        seen.page.locator("td", has_text="index in the file").locator("xpath=following-sibling::td").get_by_text("3", exact=True).wait_for()
        told = click_a_line(seen, Outcome.COLLISION)
        assert told == "collision"
        seen.page.locator("input:visible").nth(0).fill("pear")
        time.sleep(1.0)
        seen.page.locator("input:visible").nth(1).click()
        seen.page.get_by_role("option").get_by_text("box.stl").wait_for(state="detached")
        seen.page.get_by_role("option").get_by_text("pear.obj").click()
        seen.page.get_by_text("pear.obj · robotiq_2f_85").wait_for()
        wait_for(seen, lambda p: amount(p, Outcome.HELD) > 200, "grasps of the pear")
        assert seen.errors == [] and seen.abroad == []


def click_a_line(seen: Visit, outcome: Outcome) -> str:
    """Clicks pixels of an outcome's colour until the page tells of such a grasp; what it tells."""
    pixels = seen.pixels().astype(float)
    pixels[:, PANEL:], pixels[:160] = 255.0, 255.0
    rows, columns = np.nonzero(near(pixels, OUTCOMES[outcome], 0.12))
    cell = seen.page.locator("td", has_text="outcome").locator("xpath=following-sibling::td")
    for pick in np.linspace(0, len(rows) - 1, 8).astype(int):
        seen.page.mouse.click(int(columns[pick]), int(rows[pick]))
        time.sleep(1.0)
        if cell.inner_text() == outcome.label:
            break
    return str(cell.inner_text())


def test_the_gripper_page_opens_and_closes(tmp_path: Path) -> None:
    with served("franka_panda", "--port", 18100) as url, visit(url, tmp_path) as seen:
        opening = seen.page.locator("input[type=text]").last
        opening.wait_for()
        wide = wait_for(seen, lambda p: span(p) > 100, "two fingers far apart")
        opening.fill("10")
        opening.press("Enter")
        wait_for(seen, lambda p: 0 < span(p) < 0.6 * span(wide), "the fingers closer together")
        assert seen.errors == [] and seen.abroad == []


def span(pixels: np.ndarray[Any, Any]) -> float:
    """Pixels between the middles of the two fingers; 0 where one is not seen."""
    from graspgen_cli.drawing.colours import FINGERS

    columns = [np.nonzero(near(pixels, colour, 0.12))[1] for colour in FINGERS]
    return float(abs(np.median(columns[0]) - np.median(columns[1]))) if all(len(c) > 50 for c in columns) else 0.0


def test_the_page_in_one_file_needs_nothing_else(made_dataset: Path, tmp_path: Path) -> None:
    from graspgen_cli.app import main

    file = tmp_path / "box.html"
    assert main(["view", str(made_dataset), "--object", "box", "--object-dataset", str(OBJECTS), "--export", str(file)]) == 0
    with visit(file.as_uri(), tmp_path / "profile") as seen:
        pixels = wait_for(seen, lambda p: amount(p, Outcome.HELD) > 200 and amount(p, Outcome.COLLISION) > 60, "the grasps")
        assert near(pixels, OBJECT, 0.06).sum() > 500
        assert seen.errors == [] and seen.abroad == []
