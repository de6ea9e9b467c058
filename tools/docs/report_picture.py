"""The first screen of a report, for the README: docs/images/report.png.

    python tools/docs/report_picture.py [REPORT.html]        # by default docs/reports/shapes.html

It needs a browser of playwright; PLAYWRIGHT_CHROMIUM may name an installed one.
"""

import os
import sys
from pathlib import Path

from bibliography import ROOT
from playwright.sync_api import sync_playwright


def main() -> None:
    page = Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "docs" / "reports" / "shapes.html").resolve()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ.get("PLAYWRIGHT_CHROMIUM"), args=["--no-sandbox"])
        shown = browser.new_page(viewport={"width": 1200, "height": 820}, color_scheme="light")
        shown.goto(page.as_uri())
        shown.screenshot(path=ROOT / "docs" / "images" / "report.png")
        browser.close()


if __name__ == "__main__":
    main()
