"""The page, in a browser: features typed in, the score read off."""

import asyncio
import base64
import os
import shutil
import subprocess
import time

import aiohttp
import numpy as np
import pytest

from tests.export.formats.test_saved_model import logits_of
from tests.export.server.running import serving
from tests.worlds.served import columns

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")


class Tab:
    """A browser's tab, over its debugging protocol."""

    def __init__(self, socket):
        self._socket = socket
        self._number = 0

    async def call(self, method, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        await self._socket.send_json(message)
        while True:
            answer = await self._socket.receive_json(timeout=30)
            if answer.get("id") == self._number:
                return answer["result"]

    async def evaluate(self, script):
        found = await self.call(
            "Runtime.evaluate", expression=script, returnByValue=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def until(self, script):
        for _ in range(300):
            if found := await self.evaluate(script):
                return found
            await asyncio.sleep(0.1)
        raise AssertionError(f"{script} does not come true")


async def drive(port, address, row):
    """Types a row into the page; gives what it then shows, twice."""
    async with aiohttp.ClientSession() as session:
        tabs = f"http://127.0.0.1:{port}/json/new?{address}/"
        async with session.put(tabs) as answer:
            url = (await answer.json())["webSocketDebuggerUrl"]
        async with session.ws_connect(url, max_msg_size=0) as socket:
            tab = Tab(socket)
            await tab.until("document.querySelectorAll('input').length")
            path = await tab.evaluate("base")
            async with session.get(f"{address}/{path}/example") as answer:
                example = (await answer.json())["instances"][0]
            for name in ("price", "content"):
                filled = await tab.evaluate(
                    f"document.getElementsByName('{name}')[0].value"
                )
                assert all(len(text) < 13 for text in filled.split(","))
                np.testing.assert_array_equal(
                    np.float32(filled.split(",")),
                    np.float32(example[name]).ravel(),
                )
            for name, value in row.items():
                await tab.evaluate(
                    f"document.getElementsByName('{name}')[0].value = '{value}'"
                )
            click = "document.querySelector('button').click()"
            shown = "document.getElementById('score').textContent"
            await tab.evaluate(click)
            score = await tab.until(shown)
            picture = await tab.call("Page.captureScreenshot")
            item = "document.getElementsByName('item')[0].value"
            await tab.evaluate(f"{item} = '99'")
            await tab.evaluate(click)
            await tab.until(f"{shown} !== {score!r}")
            return score, await tab.evaluate(shown), picture["data"]


@pytest.mark.full
@pytest.mark.skipif(BROWSER is None, reason="chromium is not installed")
def test_a_person_types_features_and_sees_the_score(
    published, run_dir, tmp_path
):
    raw = columns(rows=1, seed=95)
    row = {
        name: ",".join(map(str, value[0])) if value.ndim > 1 else str(value[0])
        for name, value in raw.items()
        if name != "label"
    }
    profile = tmp_path / "profile"
    browser = subprocess.Popen(
        [
            BROWSER,
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
            "about:blank",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        ends = time.monotonic() + 60
        while not (profile / "DevToolsActivePort").exists():
            assert browser.poll() is None and time.monotonic() < ends
            time.sleep(0.1)
        time.sleep(0.5)
        port = (profile / "DevToolsActivePort").read_text().split()[0]
        with serving(os.path.dirname(published)) as server:
            score, refusal, picture = asyncio.run(
                drive(port, server.address, row)
            )
    finally:
        browser.kill()
        browser.wait()
    (tmp_path / "page.png").write_bytes(base64.b64decode(picture))
    want = logits_of(run_dir, raw)[0]
    assert f"logit: {np.float64(want):.5f}"[:-1] in score, score
    assert "probability: 0." in score
    assert "'item'" in refusal and "[0, 20)" in refusal
