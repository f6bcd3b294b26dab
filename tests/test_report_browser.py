"""The report in a real Chromium, offline: it draws, sorts and finds, complains of nothing and asks nobody for anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from analysed import DROPPED, HELD, made, write_dataset
from browser import Visit, require_browser, visit
from examples import EXAMPLES, OBJECTS
from graspgen_cli.app import main

pytestmark = pytest.mark.browser
RATES = {"mug.obj": (6, 2), "box.stl": (9, 0), "bowl.obj": (2, 6), "ring.ply": (10, 30)}


@pytest.fixture
def report(tmp_path: Path) -> Iterator[Visit]:
    require_browser()
    pytest.importorskip("plotly", reason="plotly is not installed; pip install plotly")
    datasets = [replace(made(name, [HELD] * held + [DROPPED] * dropped), scale=EXAMPLES[name]) for name, (held, dropped) in RATES.items()]
    assert set(RATES) <= set(EXAMPLES)
    write_dataset(tmp_path / "d", datasets)
    file = tmp_path / "report.html"
    main(["analyze", str(tmp_path / "d"), "--object-dataset", str(OBJECTS), "--quiet", "--output", str(file)])
    with visit(file.as_uri(), tmp_path / "profile", height=2400) as seen:
        seen.page.context.set_offline(True)
        seen.page.wait_for_function("document.querySelectorAll('.chart .main-svg').length >= 12", timeout=60_000)
        yield seen
        assert seen.errors == [] and seen.abroad == []


def column(seen: Visit, number: int) -> list[str]:
    return [
        str(text) for text in seen.page.eval_on_selector_all(f"#objects tbody td:nth-child({number})", "all => all.map(e => e.textContent)")
    ]


def test_the_page_draws_everything(report: Visit) -> None:
    page = report.page
    assert page.title().startswith("Grasps: ")
    assert page.locator("#objects tbody tr").count() == 4
    widths = page.eval_on_selector_all("#objects img", "all => all.map(e => e.complete ? e.naturalWidth : 0)")
    assert widths == [72] * 4  # the browser could read the pictures
    assert page.locator(".scenes canvas").count() == 4
    scene = page.locator("#scene0").bounding_box()
    pixels = report.pixels()[int(scene["y"]) : int(scene["y"] + scene["height"]), int(scene["x"]) : int(scene["x"] + scene["width"])]
    assert len({tuple(colour) for colour in pixels.reshape(-1, 3)}) > 20  # mesh and grasps, not an empty frame


def test_the_table_sorts_both_ways(report: Visit) -> None:
    heading = report.page.get_by_role("button", name="held rate")
    heading.click()
    assert column(report, 2)[2:] == ["mug.obj", "box.stl"]
    assert report.page.locator('th[aria-sort="ascending"]').count() == 1
    heading.click()
    assert column(report, 2)[:2] == ["box.stl", "mug.obj"]  # the other two hold equally often
    report.page.get_by_role("button", name="object", exact=True).click()
    assert column(report, 2) == sorted(RATES)
    report.page.get_by_role("button", name="dropped").click()
    assert column(report, 5) == ["0", "2", "6", "30"]  # as numbers, not as text


def test_the_search_leaves_what_is_looked_for(report: Visit) -> None:
    report.page.locator("#find").fill("mug")
    assert report.page.locator("#objects tbody tr:visible").count() == 1
    report.page.locator("#find").fill("")
    assert report.page.locator("#objects tbody tr:visible").count() == 4


def test_on_paper_the_controls_are_gone_and_nothing_is_cut_off(report: Visit) -> None:
    report.page.emulate_media(media="print")
    assert not report.page.locator("#find").is_visible()
    assert report.page.locator("#objects thead").evaluate("e => getComputedStyle(e).display") == "table-header-group"
    assert len(report.page.pdf(format="A4")) > 20_000


def test_a_laptop_shows_the_page_without_scrolling_sideways(report: Visit) -> None:
    report.page.set_viewport_size({"width": 1180, "height": 760})
    assert report.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
