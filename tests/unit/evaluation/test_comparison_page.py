"""The page of a comparison in a real browser: it renders, needs no network, and fits a phone."""

from __future__ import annotations

import io
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from glideslope.evaluation.comparison.page import write_page
from glideslope.evaluation.comparison.runs import find_runs
from glideslope.evaluation.comparison.summary import compare_runs
from tests.support.synthetic_runs import write_run

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(BROWSER is None or DRIVER is None, reason="needs chromium and chromedriver on the PATH")

FLAGS = (
    *(
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-sync",
    ),
    *(
        "--disable-background-networking",
        "--disable-component-update",
        "--window-size=1000,1100",
        "--hide-scrollbars",
    ),
)
BLUE, VERMILION = (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00)
NASTY = "</script><b>x"

# Bokeh draws inside shadow roots.
DEEP = """
function* deep(root) {
    for (const e of root.querySelectorAll('*')) { yield e; if (e.shadowRoot) yield* deep(e.shadowRoot) }
}
const found = (name) => [...deep(document)].filter((e) => e.classList.contains(name));
"""


# A browser is started.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two groups of ten runs, and one of three with a name that would break a careless page."""
    folder = tmp_path_factory.mktemp("page")
    for seed in range(10):
        write_run(folder / "runs" / f"a{seed}", "lr=1e-3", seed=seed, landed=(99, 80 + seed), minutes=3)
        steps = {2000: 3e-4, 4000: 1e-5}
        slow = [(4000, 0, 0.2), (8000, 1, 0.3), (12000, 1, 0.4)]
        options: Any = {"landed": (97, 85 + seed), "rates": steps, "evaluations": slow, "minutes": 1}
        write_run(folder / "runs" / f"b{seed}", "lr=1e-4", seed=seed, **options)
    for seed in range(3):
        run = write_run(folder / "runs" / f"c{seed}", "lr=1e-2", seed=seed, landed=(97, 30 + seed), minutes=2)
        overrides = (run / "overrides.yaml").read_text(encoding="utf-8")
        (run / "overrides.yaml").write_text(f"{overrides}- lr_schedule={NASTY}\n", encoding="utf-8")
    write_run(folder / "runs" / "d", "lr=1e-4", seed=99, landed=None, evaluations=[(4000, 0, 0.1)])
    write_page(folder / "comparison.html", compare_runs(find_runs([folder / "runs"]), ["lr_schedule", "lr"]))
    return folder / "comparison.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.binary_location = str(BROWSER)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def load(browser: Any, page: Path, width: int, height: int) -> None:
    """Open the page in a window of this size and wait until everything is drawn."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.as_uri())
    for _ in range(200):
        ready = "return window.Bokeh !== undefined && Bokeh.documents.length == 1 && Bokeh.documents[0].is_idle"
        if browser.execute_script(ready):
            return
        time.sleep(0.1)
    pytest.fail("the page was not drawn within 20 seconds")


def pixels(browser: Any, colour: tuple[int, int, int]) -> int:
    """How many pixels of the window have this colour."""
    picture = np.array(Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")).astype(int)
    return int((np.abs(picture - np.array(colour)).max(axis=-1) < 8).sum())


def visible(browser: Any, label: str) -> list[bool]:
    """Whether each thing that is drawn of a group is shown."""
    script = (
        "return [...Bokeh.documents[0]._all_models.values()].filter("
        "(m) => m.type == 'GlyphRenderer' && m.name == arguments[0]).map((m) => m.visible)"
    )
    return list(browser.execute_script(script, label))


def test_it_renders_without_an_error_and_no_request_leaves_it(browser: Any, page: Path) -> None:
    load(browser, page, 1000, 1100)
    console = browser.get_log("browser")
    assert [entry for entry in console if entry["level"] not in ("INFO", "DEBUG")] == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requests = [event["params"] for event in events if event["method"] == "Network.requestWillBeSent"]
    asked = [r["request"]["url"] for r in requests if r["documentURL"] == page.as_uri()]
    assert page.as_uri() in asked
    assert {url.split(":")[0] for url in asked} == {"file", "data"}
    assert [url for url in asked if url.startswith("file")] == [page.as_uri()]
    assert min(pixels(browser, BLUE), pixels(browser, VERMILION)) > 300
    # Success rates, learning rates, performance profiles.
    assert browser.execute_script(f"{DEEP} return found('bk-Figure').length") == 3
    assert not browser.find_elements("tag name", "b")


def test_the_legend_hides_a_group_everywhere(browser: Any, page: Path) -> None:
    from selenium.webdriver import ActionChains
    from selenium.webdriver.common.actions.action_builder import ActionBuilder

    load(browser, page, 1000, 1100)
    first, second = "lr_schedule=constant, lr=0.001", "lr_schedule=constant, lr=0.0001"
    before = pixels(browser, VERMILION)
    # Line, marks, runs and band; the learning rates of whole runs and of the shorter one; profile and its band.
    assert visible(browser, second) == [True] * 8
    box = browser.execute_script(f"{DEEP} return found('bk-Legend')[0].getBoundingClientRect().toJSON()")

    def click() -> None:
        mouse = ActionBuilder(browser)
        mouse.pointer_action.move_to_location(int(box["x"] + 20), int(box["y"] + box["height"] / 2)).click()
        mouse.perform()
        ActionChains(browser).pause(0.5).perform()

    click()
    assert visible(browser, second) == [False] * 8
    assert visible(browser, first) == [True] * 7  # no shorter run
    assert pixels(browser, VERMILION) < before / 5
    click()
    assert visible(browser, second) == [True] * 8


def test_the_table_is_sorted_by_a_click(browser: Any, page: Path) -> None:
    load(browser, page, 1000, 1100)

    def column(place: int) -> list[str]:
        script = f"""{DEEP} return found('slick-row').sort((a, b) => a.getBoundingClientRect().y -
            b.getBoundingClientRect().y).map((row) => row.children[arguments[0]].textContent)"""
        return list(browser.execute_script(script, place))

    # 30%, 31% and 32%: a standard deviation of 1%, and 4.3027 for 2 degrees of freedom.
    assert [text[:5] for text in column(2)] == ["84.5%", "89.5%", "31.0%"]
    assert column(2)[2] == "31.0% (29–33%)"
    header = f"{DEEP} found('slick-header-column')[2].click()"
    browser.execute_script(header)
    assert [text[:5] for text in column(2)] == ["31.0%", "84.5%", "89.5%"]
    browser.execute_script(header)
    assert [text[:5] for text in column(2)] == ["89.5%", "84.5%", "31.0%"]
    assert column(4) == ["– (0 of 10)", "8k (10 of 10)", "8k (3 of 3)"]


@pytest.mark.parametrize("width", [320, 375, 768])
def test_nothing_is_wider_than_the_window(browser: Any, page: Path, width: int) -> None:
    load(browser, page, width, 800)
    sizes = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert sizes == [width, width]
    right = browser.execute_script(
        f"{DEEP} return [...found('bk-Figure'), ...found('bk-DataTable')].map((e) => e.getBoundingClientRect().right)"
    )
    assert len(right) == 4
    assert max(right) <= width
