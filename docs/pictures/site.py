"""Takes pictures of the documentation site: ``python -m docs.pictures.site``.

Builds the site, serves it on this machine and shows pages in a browser that wants light, in one
that wants dark, and as wide as a phone. A page that is wider than its screen is an error. Needs a
Chromium and the packages of the extra ``test``.
"""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.report import ROOT
from docs.pictures.browser import find_browser, open_page
from docs.site.build import build

if TYPE_CHECKING:
    from playwright.sync_api import Page

IMAGES = ROOT / "docs" / "pictures" / "site"
#: Pages, and what to scroll to where it is not their top.
PAGES = {
    "index": "",
    "tutorials/jets": "",
    "notebooks/4_reading_a_front": "",
    "method": "#why-zeros-alone-save-nothing",
    "reference/sweep": "#hardware",
    "results/fronts": "",
}
#: Name: width and height in pixels, and what the browser wants.
SCREENS: dict[str, tuple[int, int, Literal["light", "dark"]]] = {
    "light": (1280, 900, "light"),
    "dark": (1280, 900, "dark"),
    "phone": (390, 844, "light"),
    "phone_dark": (390, 844, "dark"),
}
#: The theme moves what is on the page after it has loaded.
_SETTLE_MS = 600


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Keep the requests off the terminal."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Yield the address at which `folder` is served while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def take(page: Page, path: Path) -> None:
    """Write what is seen, in 128 colours: a third of the bytes."""
    from PIL import Image

    page.wait_for_timeout(_SETTLE_MS)
    seen = Image.open(io.BytesIO(page.screenshot()))
    seen.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


def wider_than_screen(page: Page) -> int:
    """Return by how many pixels a page can be moved sideways."""
    return int(page.evaluate("document.documentElement.scrollWidth - window.innerWidth"))


def main() -> None:
    """Take all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--site", type=Path, help="a site that has been built")
    site: Path | None = parser.parse_args().site
    if find_browser() is None:
        sys.exit("no Chromium on PATH; on Debian: apt install chromium")
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="rfprune-") as name:
        if site is None:
            site = Path(name)
            if build(site) != 0:
                sys.exit("the site could not be built")
        with served(site) as address:
            for screen, (width, height, wanted) in SCREENS.items():
                with open_page(width, height) as page:
                    page.emulate_media(color_scheme=wanted)
                    for place, anchor in PAGES.items():
                        page.goto(f"{address}/{place}.html{anchor}")
                        path = IMAGES / f"{place.rpartition('/')[2]}_{screen}.png"
                        take(page, path)
                        assert wider_than_screen(page) <= 0, f"{place} on {screen}"
                        print(f"written: {path}")


if __name__ == "__main__":
    main()
