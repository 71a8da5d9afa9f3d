"""A real browser for pages: Chromium, headless, which asks no network."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

_FLAGS = [
    *["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage"],
    *["--disable-background-networking", "--disable-component-update", "--disable-sync"],
]


class Browser:
    """A window of Chromium that shows one page at a time.

    Args:
        driver: Selenium's driver.
        folder: Where pages are put.
    """

    def __init__(self, driver: webdriver.Chrome, folder: Path) -> None:
        self.driver, self._folder = driver, folder
        self._command("Emulation.setFocusEmulationEnabled", enabled=True)

    def open(self, page: str, *, dark: bool = False, width: int = 1100, media: str = "") -> None:
        """Show a page in a window of this width."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}
        self._command("Emulation.setEmulatedMedia", media=media, features=[scheme, still])
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
        self._command("Emulation.setDeviceMetricsOverride", **size)
        file = self._folder / "page.html"
        file.write_text(page, encoding="utf-8")
        self.driver.get(file.as_uri())

    def run(self, script: str, *arguments: Any) -> Any:
        """What a function's body returns in the page."""
        return self.driver.execute_script(script, *arguments)

    def find(self, selector: str) -> list[WebElement]:
        """Elements by CSS."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """What the first such element shows."""
        return self.find(selector)[0].text

    def complaints(self) -> list[str]:
        """What the console has said since it was last asked: errors, refusals, failed requests."""
        return [entry["message"] for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]

    def _command(self, name: str, **given: Any) -> None:
        self.driver.execute_cdp_cmd(name, given)


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """A browser; skips where there is none."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("needs Chromium and its driver; on Debian: apt-get install chromium chromium-driver")
    options = Options()
    options.binary_location = binary
    for flag in (*_FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    running = webdriver.Chrome(options=options, service=Service(executable_path=driver))
    try:
        yield Browser(running, folder)
    finally:
        running.quit()
