"""Makes every picture of the README and of these pages with the commands that a user has: ``python docs/pictures/make_pictures.py``.

Needs ``pip install '.[view,replay]'``, and for the picture of the live page also playwright and Chromium.
"""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

PICTURES = Path(__file__).resolve().parent
REPOSITORY = PICTURES.parents[1]
GRIPPERS = ("robotiq_2f_85", "robotiq_2f_140", "franka_panda", "onrobot_rg6", "smc_mhc2_25")
OBJECTS = {"mug.obj": 0.001, "bottle.obj": 1.0, "hammer.obj": 0.0254}
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
SOFTWARE_GRAPHICS = ("--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
PAGE = (1280, 760)


def graspgen(line: str, folder: Path) -> None:
    """Runs a command in a folder; `docs` in it stands for the folder of the pictures."""
    print(f"graspgen {line}", flush=True)
    words = [word.replace("docs", str(PICTURES)) for word in shlex.split(line)]
    subprocess.run([sys.executable, "-m", "graspgen_cli", *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)


def make_dataset(folder: Path) -> None:
    (folder / "scales.json").write_text(json.dumps(OBJECTS))
    shutil.copytree(REPOSITORY / "objects", folder / "objects")
    quotas = "--num-collision-free-grasps 24 --num-colliding-grasps 8"
    graspgen(f"all --object-scales-json scales.json {quotas} --graspgen-source none --quiet", folder)


def screenshot(folder: Path) -> None:
    """The live page as a visitor sees it, where playwright and Chromium are there."""
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        print("no picture of the page: playwright is not installed")
        return
    if CHROMIUM is None:
        print("no picture of the page: Chromium is not installed")
        return
    command = [sys.executable, "-m", "graspgen_cli", "view", "results", "--object", "bottle", "--quiet"]
    server = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = server.stdout.readline().removeprefix("address: ").strip()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(SOFTWARE_GRAPHICS))
            page = browser.new_page(viewport={"width": PAGE[0], "height": PAGE[1]})
            page.goto(address)
            page.get_by_text("Only this one").wait_for()
            page.locator("input[type=text]").last.fill("6")
            page.locator("input[type=text]").last.press("Enter")
            page.locator(".mantine-Notification-closeButton").click()  # of a notice that graphics are slow here
            page.mouse.move(*PAGE)
            page.wait_for_timeout(4000)  # until everything is drawn
            page.screenshot(path=PICTURES / "page.png")
            browser.close()
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_dataset(folder)
        for gripper in GRIPPERS:
            graspgen(f"view {gripper} --export docs/{gripper}.png", folder)
        graspgen("view results --object mug --picture-width 900 --export docs/mug_grasps.png", folder)
        graspgen("view results --object hammer --grasp 4 --figure gripper --picture-width 900 --export docs/hammer_grasp.png", folder)
        graspgen("balance results --num-held 4 --num-failed 0 --output-dataset few", folder)
        graspgen("view few --object bottle --figure gripper --picture-width 900 --export docs/held_grasps.png", folder)
        graspgen("replay results --object mug --video docs/mug_held.png", folder)
        graspgen("replay results --object bottle --outcome dropped --video docs/bottle_dropped.png", folder)
        screenshot(folder)


if __name__ == "__main__":
    main()
