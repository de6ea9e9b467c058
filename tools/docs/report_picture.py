"""The first screen of a report, for the README and the tutorial: docs/images/report.webp.

    python tools/docs/report_picture.py runs/first/report.html        # the run of docs/tutorial/measure.md

It needs a browser of playwright; PLAYWRIGHT_CHROMIUM may name an installed one.
"""

import os
import sys
from io import BytesIO
from pathlib import Path

from bibliography import ROOT
from PIL import Image
from playwright.sync_api import sync_playwright


def main() -> None:
    page = Path(sys.argv[1]).resolve()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ.get("PLAYWRIGHT_CHROMIUM"), args=["--no-sandbox"])
        shown = browser.new_page(viewport={"width": 1200, "height": 820}, color_scheme="light")
        shown.goto(page.as_uri())
        screen = Image.open(BytesIO(shown.screenshot()))
        screen.save(ROOT / "docs" / "images" / "report.webp", quality=85)
        browser.close()


if __name__ == "__main__":
    main()
