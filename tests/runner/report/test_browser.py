"""The report as a browser shows it: something to look at, no requests, no complaints."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sparse_transfer_runner.report import render_report

_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_SECONDS = 60
_WIDTH, _HEIGHT = 1100, 4800
_BLANK_BYTES = 30_000
"""An empty page of this size takes about 26 kB as PNG."""

pytestmark = pytest.mark.skipif(
    _CHROMIUM is None, reason="no Chromium here; get it with: apt-get install -y chromium"
)


@dataclass(frozen=True)
class Visit:
    """What a browser did with a page."""

    screenshot: bytes
    requests: list[str]
    console: list[str]


def visit(html: str, folder: Path) -> Visit:
    page, picture, network = folder / "page.html", folder / "page.png", folder / "network.json"
    page.write_text(html, encoding="utf-8")
    ended = subprocess.run(
        [
            str(_CHROMIUM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--enable-logging=stderr",
            f"--user-data-dir={folder / 'profile'}",
            f"--log-net-log={network}",
            f"--window-size={_WIDTH},{_HEIGHT}",
            f"--screenshot={picture}",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=True,
    )
    console = [line for line in ended.stderr.splitlines() if ":CONSOLE" in line]
    return Visit(picture.read_bytes(), _requests_of_the_page(network), console)


def _requests_of_the_page(network: Path) -> list[str]:
    """Returns what the page asked for; the browser's own requests belong to no page."""
    log = json.loads(network.read_text())
    return [
        event["params"]["url"]
        for event in log["events"]
        if str(event.get("params", {}).get("network_isolation_key", "")).startswith("file://")
        and event["params"].get("url", "").startswith("http")
    ]


def test_the_report_fills_the_screen_without_requests_or_complaints(
    records: Any, tmp_path: Path
) -> None:
    seen = visit(render_report(**vars(records)), tmp_path)
    assert struct.unpack(">II", seen.screenshot[16:24]) == (_WIDTH, _HEIGHT)
    assert len(seen.screenshot) > 8 * _BLANK_BYTES
    assert seen.requests == []
    assert seen.console == []


def test_the_visit_would_notice_requests_and_complaints(tmp_path: Path) -> None:
    seen = visit(
        "<title>x</title><img src='http://example.invalid/x.png'><script>undefined_name()</script>",
        tmp_path,
    )
    assert "http://example.invalid/x.png" in seen.requests
    assert len(seen.console) == 1
    assert len(seen.screenshot) < _BLANK_BYTES
