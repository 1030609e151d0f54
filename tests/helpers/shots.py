"""Notebooks in a real browser: JupyterLab on a copy, Chromium without a window, pictures of both.

python tests/helpers/shots.py NOTEBOOK OUT [--width 1280 800]

opens an executed notebook without running it, and stores what a reader sees, a screenful a file.
"""

from __future__ import annotations

import argparse
import json
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from scl.course.notebooks import environment

ROOT = Path(__file__).resolve().parents[2]

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
# Cells far from the window are attached too, and nothing is fetched from outside or pops up.
SETTINGS: dict[str, dict[str, Any]] = {
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none", "scrollPastEnd": False},
    "@jupyterlab/apputils-extension/notification": {
        "fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True,
    },
}  # fmt: skip
START_SECONDS = 90
PANEL = ".jp-NotebookPanel:not(.lm-mod-hidden) .jp-WindowedPanel-outer"


def why_no_browser() -> str:
    """Why no browser can be driven here; empty where one can."""
    if not any(map(shutil.which, BROWSERS)):
        return f"none of these programs is installed: {', '.join(BROWSERS)}"
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError as error:
        return f"Playwright for Python cannot be imported ({error})"
    return ""


def lab_environment(home: Path) -> dict[str, str]:
    """The environment for JupyterLab: no settings but ours, and figures as readers get them."""
    folders = {f"JUPYTER_{name}_DIR": home / name.lower() for name in ("CONFIG", "RUNTIME", "DATA")}
    for name, values in SETTINGS.items():
        place = folders["JUPYTER_CONFIG_DIR"] / f"lab/user-settings/{name}.jupyterlab-settings"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(json.dumps(values), encoding="utf-8")
    return {**environment(), **{name: str(path) for name, path in folders.items()}}


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def lab_server(folder: Path, home: Path) -> Iterator[str]:
    """JupyterLab on a folder, its own files in `home`; gives the address to put a path into."""
    port, token = free_port(), secrets.token_hex(16)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += [
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        "--ServerApp.ip=127.0.0.1",
    ]
    command += [f"--ServerApp.root_dir={folder}", f"--IdentityProvider.token={token}"]
    command += ["--LabApp.expose_app_in_browser=True", "--LabApp.extension_manager=readonly"]
    home.mkdir(parents=True, exist_ok=True)
    log = home / "jupyterlab.log"
    with open(log, "w", encoding="utf-8") as stream:
        process = subprocess.Popen(
            command, cwd=folder, env=lab_environment(home), stdout=stream, stderr=stream
        )
        try:
            wait_for(f"http://127.0.0.1:{port}/api", process, log)
            yield f"http://127.0.0.1:{port}/lab/tree/{{}}?token={token}"
        finally:
            stop(process)


def wait_for(address: str, process: subprocess.Popen, log: Path) -> None:
    """Return once a server answers; raise with its log where it does not."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            direct.open(address, timeout=5).close()
            return
        except OSError:
            time.sleep(0.3)
    raise RuntimeError("JupyterLab did not start:\n" + log.read_text(encoding="utf-8")[-3000:])


def stop(process: subprocess.Popen) -> None:
    """Ask first, so that the server ends its kernels; then insist."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def browser_page(width: int = 1280, height: int = 900, **options: Any) -> Iterator[Any]:
    """A page of a Chromium without a window; options: such as device_scale_factor, has_touch."""
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, BROWSERS)))
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=program, args=CHROMIUM)
        try:
            page = browser.new_page(viewport={"width": width, "height": height}, **options)
            yield page
        finally:
            browser.close()


def open_notebook(page: Any, address: str) -> None:
    """Open a notebook, without side bars, and wait until its cells are there."""
    page.goto(address)
    page.wait_for_selector(f"{PANEL} .jp-Cell", timeout=START_SECONDS * 1000)
    page.evaluate("() => window.jupyterapp.restored")
    for side in ("left", "right"):
        if page.locator(f"#jp-{side}-stack").is_visible():
            page.evaluate(f"() => jupyterapp.commands.execute('application:toggle-{side}-area')")
    settle(page)


def settle(page: Any) -> None:
    """Wait until texts and formulas have been set and the cells no longer grow."""
    height = -1
    for _ in range(40):
        before, height = height, page.evaluate(f"document.querySelector('{PANEL}').scrollHeight")
        if before == height:
            return
        page.wait_for_timeout(1000)


def save_screenfuls(page: Any, stem: Path) -> list[Path]:
    """Scroll through the open notebook; store what is seen as STEM-01.png and so on."""
    panel = page.locator(PANEL)
    shown, whole = panel.evaluate("panel => [panel.clientHeight, panel.scrollHeight]")
    step, files = shown - 40, []  # a line or two is seen twice, so that none is cut
    for number, top in enumerate(range(0, max(whole - 40, 1), step), 1):
        panel.evaluate("(panel, top) => panel.scrollTo(0, top)", top)
        page.wait_for_timeout(400)
        files.append(stem.with_name(f"{stem.name}-{number:02}.png"))
        page.screenshot(path=files[-1])
    return files


def shoot(notebook: Path, out: Path, widths: list[int]) -> list[Path]:
    """Screenshots of a whole notebook at several widths of the window."""
    out.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "work"
        folder.mkdir()
        shutil.copy(notebook, folder)
        with lab_server(folder, Path(scratch) / "jupyter") as address:
            for width in widths:
                with browser_page(width) as page:
                    open_notebook(page, address.format(notebook.name))
                    files += save_screenfuls(page, out / f"{notebook.stem}-{width}")
    return files


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebook", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--width", type=int, nargs="+", default=[1280, 800])
    options = parser.parse_args()
    if reason := why_no_browser():
        sys.exit(f"No screenshots: {reason}.")
    files = shoot(options.notebook, options.out, options.width)
    print(*files, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
