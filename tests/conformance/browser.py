"""A browser without a window, driven through the DevTools protocol over a pair of pipes.

The protocol: https://chromedevtools.github.io/devtools-protocol/; messages are JSON, each behind
which stands a NUL.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from select import select
from types import TracebackType
from typing import Any

__all__ = ["Browser"]

PATIENCE = 60.0
"""How long the browser may take over one thing, in seconds."""

FLAGS = (
    "--headless",
    "--no-sandbox",  # which does not work for root
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,1000",
    "--remote-debugging-pipe",
)

BY_FD = "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); "
BY_FD += "os.execvp(sys.argv[3], sys.argv[3:])"
"""A program for Python: the browser reads from descriptor 3 and writes to 4."""


class Browser:
    """A browser with one page."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        """What stood on its console as a warning or an error."""
        self.requests: list[str] = []
        """Every address that was asked for."""
        self._number = 0
        self._session = ""
        self._heard = b""
        self._loaded = False

    def __enter__(self) -> Browser:
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        # Above 4, so that dup2 does not overwrite one of them.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs_in, theirs_out)]
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", BY_FD, *map(str, ends)),
                *("chromium", *FLAGS, f"--user-data-dir={self._profile.name}", "about:blank"),
            ],
            pass_fds=ends,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for end in (theirs_in, theirs_out, *ends):
            os.close(end)
        try:
            targets = self.call("Target.getTargets")["targetInfos"]
            page = next(target for target in targets if target["type"] == "page")
            attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
            self._session = attached["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.call(f"{domain}.enable")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # It has processes of its own, all in its session.
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._to)
        os.close(self._from)
        self._profile.cleanup()

    # --- the protocol -----------------------------------------------------------------------------

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Have something done; returns the answer, raises RuntimeError for a refusal."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        while (answer := self._next()).get("id") != self._number:
            self._note(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _next(self) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self._heard:
            left = deadline - time.monotonic()
            if left <= 0 or not select([self._from], [], [], left)[0]:
                raise TimeoutError("the browser is silent")
            chunk = os.read(self._from, 1 << 16)
            if not chunk:
                raise ConnectionError("the browser is gone")
            self._heard += chunk
        line, _, self._heard = self._heard.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                self.errors.append(details.get("exception", details).get("description", "?"))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.errors.append(str(params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.errors.append(params["entry"]["text"])
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Page.loadEventFired":
                self._loaded = True

    # --- what a person does -----------------------------------------------------------------------

    def open(self, path: Path, fragment: str = "") -> None:
        """Open a file, and wait until it is there."""
        self._visit("about:blank")
        self.errors.clear()
        self.requests.clear()
        self._visit(path.as_uri() + fragment)

    def _visit(self, address: str) -> None:
        self._loaded = False
        self.call("Page.navigate", url=address)
        while not self._loaded:
            self._note(self._next())

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript in the page, which must be JSON."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"]["exception"]["description"])
        return answer["result"].get("value")

    def wait_for(self, condition: str) -> None:
        """Wait until a condition in JavaScript is true."""
        self.evaluate(
            "new Promise(done => {"
            f"  const look = () => {{ if ({condition}) done(); else setTimeout(look); }};"
            "  look();"
            "})"
        )

    def press(self, *keys: str) -> None:
        """Press keys, one after the other: ``a``, ``Tab``, ``Enter``, ``Control+Home``."""
        for key in keys:
            *held, name = key.split("+") if len(key) > 1 else [key]
            what: dict[str, Any] = {"key": name, "modifiers": 2 if "Control" in held else 0}
            what["windowsVirtualKeyCode"] = KEYS.get(name, ord(name[0].upper()))
            if text := {"Enter": "\r"}.get(name, name if len(name) == 1 else ""):
                what["text"] = text
            self.call("Input.dispatchKeyEvent", type="keyDown", **what)
            what.pop("text", None)
            self.call("Input.dispatchKeyEvent", type="keyUp", **what)

    def type(self, text: str) -> None:
        """Type a text."""
        self.call("Input.insertText", text=text)


KEYS = {
    "Tab": 9,
    "Enter": 13,
    "Escape": 27,
    "PageUp": 33,
    "PageDown": 34,
    "End": 35,
    "Home": 36,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
    "/": 191,
}
"""The numbers that Windows gave to the keys."""
