"""The page in a real browser: what a visitor does, at both widths, with no request to another machine.

With DEMO_SCREENSHOTS=docs the screenshots of the documents are written again.
"""

import base64
import io
import json
import os
import shutil
import socket
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

pytest.importorskip("gradio", reason="the page: pip install hart-stage-cache[demo]")
pytest.importorskip("selenium", reason="drives the browser: pip install hart-stage-cache[dev]")

from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from hart import HARTPipeline, sample_prompts
from hart.demo.fidelity import psnr_to_truth
from hart.demo.page import Page, launch_options
from hart.demo.settings import DemoSettings
from hart.demo.studio import Studio

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    # A request to another machine would fail, and be seen in the log.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
]
PATIENCE = 60
PROMPT = sample_prompts()[2]
DESKTOP, TELEPHONE = (1100, 900), (390, 844)

NOT_LOOKED_AT = (
    "no Chromium with its driver here, so the demo was not looked at in a browser; on Debian: "
    "apt-get install chromium chromium-driver"
)
if BROWSER is None or DRIVER is None:
    warnings.warn(NOT_LOOKED_AT, stacklevel=1)  # pytest's summary shows it, where a skip is one letter among many

pytestmark = pytest.mark.skipif(BROWSER is None or DRIVER is None, reason=NOT_LOOKED_AT)


@pytest.fixture(scope="module")
def dialled():
    """Hosts that this process connects to."""
    hosts: list[str] = []
    connect = socket.socket.connect

    def note(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            hosts.append(address[0])
        return connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", note)
        yield hosts


@pytest.fixture(scope="module")
def page(dialled, tmp_path_factory):
    """The page of the embedded model, served on this machine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        pipeline = HARTPipeline.from_pretrained(device="cpu", progress=False)
        studio = Studio(pipeline, DemoSettings().choices(pipeline.model.config.patch_nums), psnr_to_truth)
        page = Page(studio)
        page.blocks.launch(server_name="127.0.0.1", prevent_thread_lock=True, **launch_options())
        yield page
        page.blocks.close(verbose=False)
    assert set(dialled) <= {"127.0.0.1", "::1", "localhost"}


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in [*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


class Visitor:
    """What somebody does on the page, and what they see."""

    def __init__(self, driver, address: str):
        self.driver, self.may_complain = driver, False
        self.driver.get(address)
        self.wait(lambda: self.driver.find_elements(By.CSS_SELECTOR, "#paint"))

    def wait(self, what: Callable[[], object]) -> object:
        """Wait until something is there; asked often, because a preview stands for a moment."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            seen = what()
            if seen:
                return seen
            time.sleep(0.02)
        pictures = {name: self.picture(name) for name in ("plain", "cached", "difference")}
        raise AssertionError(f"not seen in {PATIENCE} s; pictures {pictures}; the page says: {self.text('body')}")

    def leave(self) -> None:
        """Go elsewhere; the page may complain that its requests ended."""
        self.may_complain = True
        self.driver.get("about:blank")

    def text(self, selector: str) -> str:
        return self.driver.execute_script("return document.querySelector(arguments[0])?.innerText ?? ''", selector)

    def picture(self, name: str) -> tuple[str, int]:
        """Address and width in pixels of a picture; empty and 0 where there is none."""
        script = "let i = document.querySelector(`#${arguments[0]} img`); return i ? [i.src, i.naturalWidth] : ['', 0]"
        return tuple(self.driver.execute_script(script, name))

    def write(self, prompt: str) -> None:
        field = self.driver.find_element(By.CSS_SELECTOR, "#prompt textarea")
        self.wait(field.is_enabled)
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(Keys.DELETE, prompt)

    def press(self, name: str) -> None:
        self.driver.find_element(By.CSS_SELECTOR, f"#{name}").click()

    def open(self, tab: str) -> None:
        self.driver.find_element(By.XPATH, f"//button[@role='tab' and normalize-space()='{tab}']").click()

    def paint(self, prompt: str) -> None:
        self.write(prompt)
        self.press("paint")
        self.wait(lambda: "Done" in self.text("#status") and prompt in self.text("#status"))
        self.wait(lambda: self.picture("plain")[1] and self.picture("cached")[1] and self.picture("difference")[1])

    def width(self) -> int:
        return self.driver.execute_script("return document.documentElement.scrollWidth")

    def places(self, *names: str) -> list[dict[str, float]]:
        script = "return arguments[0].map(n => document.querySelector('#' + n).getBoundingClientRect().toJSON())"
        return self.driver.execute_script(script, names)

    def screenshot(self, file: Path) -> None:
        """The whole page in 256 colours, which makes a small file."""
        size = self.driver.execute_script(
            "return [document.documentElement.clientWidth, document.body.getBoundingClientRect().height]"
        )
        clip = {"x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1}
        given = {"captureBeyondViewport": True, "clip": clip}
        taken = self.driver.execute_cdp_cmd("Page.captureScreenshot", given)
        picture = Image.open(io.BytesIO(base64.b64decode(taken["data"])))
        picture.convert("RGB").quantize(256).save(file, optimize=True)

    def requested(self) -> list[str]:
        """Addresses of all requests to a network since the log was last read."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if urlsplit(url).scheme in ("http", "https", "ws", "wss")]


@pytest.fixture
def visit(driver, page):
    """Opens the page at a size; in the end nothing has complained and no other machine was asked."""
    visitors = []

    def open_page(size: tuple[int, int]) -> Visitor:
        metrics = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": size == TELEPHONE}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        visitors.append(Visitor(driver, page.blocks.local_url))
        return visitors[-1]

    yield open_page
    requested = visitors[0].requested()
    assert len(requested) > 10
    assert {urlsplit(url).hostname for url in requested} == {"127.0.0.1"}
    complaints = driver.get_log("browser")
    assert visitors[0].may_complain or complaints == []


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory) -> Path:
    folder = os.environ.get("DEMO_SCREENSHOTS")
    return Path(folder) if folder else tmp_path_factory.mktemp("screenshots")


def test_a_prompt_is_painted_stage_by_stage(visit, screenshots):
    visitor = visit(DESKTOP)
    assert "press Paint" in visitor.text("#status") and visitor.picture("plain") == ("", 0)
    visitor.write(PROMPT)
    visitor.press("paint")
    visitor.wait(lambda: "Picture 1 of 2, without cache" in visitor.text("#status"))
    first = visitor.wait(lambda: visitor.picture("plain")[0])
    visitor.wait(lambda: visitor.picture("plain")[0] not in ("", first))
    assert visitor.picture("cached") == ("", 0)
    visitor.wait(lambda: "Picture 2 of 2, original-cache" in visitor.text("#status"))
    preview = visitor.wait(lambda: visitor.picture("cached")[0])
    visitor.wait(lambda: f"Done: “{PROMPT}”, seed 0" in visitor.text("#status"))
    visitor.wait(lambda: visitor.picture("cached")[0] != preview and visitor.picture("difference")[1])
    assert visitor.picture("plain")[1] == visitor.picture("cached")[1] == visitor.picture("difference")[1] == 128
    assert visitor.text("#plain-caption").endswith("s") and "original-cache" in visitor.text("#cached-caption")
    for figure in ("Speed-up", "Work saved", "PSNR", "PSNR to the truth", " dB"):
        assert figure in visitor.text("#figures")
    visitor.screenshot(screenshots / "demo.png")


def test_the_slider_shows_earlier_stages_and_the_plan_is_drawn(visit, screenshots):
    visitor = visit(DESKTOP)
    visitor.open("Plan")
    assert "once it has painted" in visitor.text("#plan")
    visitor.open("Pictures")
    visitor.paint(PROMPT)
    visitor.open("Stages")
    last = visitor.wait(lambda: visitor.picture("cached-stage")[0])
    assert "After stage 10 of 10: 16x16 tokens" in visitor.text("#stage-caption")
    slider = visitor.driver.find_element(By.CSS_SELECTOR, "#stage input[type=range]")
    slider.send_keys(*[Keys.ARROW_LEFT] * 4)
    visitor.wait(lambda: "After stage 6 of 10: 6x6 tokens" in visitor.text("#stage-caption"))
    visitor.wait(lambda: visitor.picture("cached-stage")[0] != last and visitor.picture("cached-stage")[1])
    visitor.screenshot(screenshots / "demo_stages.png")
    visitor.open("Plan")
    visitor.wait(lambda: "original-cache computes" in visitor.text("#plan"))
    drawn = visitor.driver.find_elements(By.CSS_SELECTOR, "#plan figure img")
    assert drawn and all("computed" in image.get_attribute("alt") for image in drawn)
    assert len(visitor.driver.find_elements(By.CSS_SELECTOR, "#plan tbody tr")) == 10
    visitor.screenshot(screenshots / "demo_plan.png")


def test_on_a_telephone_nothing_is_cut_off(visit, screenshots):
    visitor = visit(TELEPHONE)
    assert visitor.width() == TELEPHONE[0]
    visitor.paint(PROMPT)
    for tab, names in (("Pictures", ("plain", "cached")), ("Stages", ("plain-stage", "cached-stage")), ("Plan", ())):
        visitor.open(tab)
        visitor.wait(lambda names=names: all(visitor.picture(name)[1] for name in names))
        places = visitor.places(*names)
        assert visitor.width() == TELEPHONE[0]
        assert all(place["left"] >= 0 and place["right"] <= TELEPHONE[0] and place["width"] > 140 for place in places)
        assert len({place["top"] for place in places}) <= 1, "the two pictures stand side by side"
    visitor.open("Pictures")
    visitor.screenshot(screenshots / "demo_telephone.png")


def test_a_bad_prompt_is_said_in_the_page_and_the_next_is_painted(visit):
    visitor = visit(DESKTOP)
    alert = "#status [role=alert]"
    visitor.write("")
    visitor.press("paint")
    visitor.wait(lambda: visitor.text(alert) == "The prompt must be a text, got nothing.")
    visitor.driver.execute_script(
        "let t = document.querySelector('#prompt textarea'); t.value = 'fox '.repeat(400);"
        "t.dispatchEvent(new Event('input', {bubbles: true}))"
    )
    visitor.press("paint")
    visitor.wait(lambda: "tokens" in visitor.text(alert))
    assert visitor.picture("plain") == ("", 0) and visitor.text("#figures") == ""
    visitor.paint(PROMPT)
    assert visitor.text(alert) == ""


def test_painting_can_be_stopped_and_begun_again(visit):
    visitor = visit(DESKTOP)
    visitor.press("paint")
    visitor.wait(lambda: visitor.picture("plain")[0])
    visitor.press("stop")
    visitor.wait(lambda: "Stopped" in visitor.text("#status"))
    time.sleep(0.5)
    assert "Stopped" in visitor.text("#status") and visitor.picture("difference") == ("", 0)
    visitor.paint(PROMPT)


def test_two_visitors_take_turns(visit):
    first = visit(DESKTOP)
    first.press("paint")
    window = first.driver.current_window_handle
    first.driver.switch_to.new_window("tab")
    try:
        visit(DESKTOP).paint(PROMPT)
    finally:
        first.driver.close()
        first.driver.switch_to.window(window)
    first.wait(lambda: f"Done: “{sample_prompts()[0]}”" in first.text("#status"))


def test_a_full_queue_is_said_in_the_page(visit, page, monkeypatch):
    visitor = visit(DESKTOP)
    visitor.may_complain = True  # of the refused request
    with monkeypatch.context() as patch:
        patch.setattr(page.blocks._queue, "max_size", 0)
        visitor.press("paint")
        visitor.wait(lambda: "Too many visitors are waiting" in visitor.text("#status [role=alert]"))
    visitor.paint(PROMPT)


def test_a_visitor_who_leaves_frees_the_painter(visit):
    visitor = visit(DESKTOP)
    visitor.press("paint")
    visitor.wait(lambda: visitor.picture("plain")[0])
    assert painting_threads()
    visitor.leave()
    visitor.wait(lambda: not painting_threads())


def painting_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "painting"]
