"""A headless Chromium that tests drive: Chrome's DevTools protocol over two pipes, without a port or a driver."""

import base64
import json
import os
import subprocess
import time

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-unsafe-swiftshader",  # WebGL without a GPU, for the projector
)


class Browser:
    """One page of a Chromium of its own; a context manager.

    Args:
        chromium: the program.
        profile: a new folder for what it keeps.
        width, height: of the page, in pixels.
    """

    def __init__(self, chromium, profile, *, width=1400, height=1000):
        to_read, self._to = os.pipe()
        self._from, to_write = os.pipe()
        command = f'exec "$@" 3<&{to_read} 4>&{to_write}'  # the protocol's places
        flags = [*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}", "--remote-debugging-pipe"]
        self._process = subprocess.Popen(
            ["bash", "-c", command, "chromium", str(chromium), *flags, "about:blank"],
            pass_fds=(to_read, to_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self._rest, self._number, self._session = b"", 0, None
        pages = [one for one in self._ask("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        page = pages[0]["targetId"] if pages else self._ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._ask("Emulation.setDeviceMetricsOverride", **size)

    def __enter__(self):
        return self

    def __exit__(self, *raised):
        self._process.kill()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def open(self, address):
        """Goes to a page."""
        self._ask("Page.navigate", url=address)

    def evaluate(self, script):
        """The value of a script, waited for when it is a promise."""
        result = self._ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise AssertionError(result["exceptionDetails"])
        return result["result"].get("value")

    def text(self):
        """What a person reads on the page, through all shadow roots."""
        return self.evaluate(f"({TEXT})(document.body)")

    def wait_for(self, *words, seconds=60):
        """The text of the page once it has all these words."""
        return self.wait(lambda text: all(word in text for word in words), words, seconds=seconds)

    def wait(self, is_there, what, *, seconds=60):
        """The text of the page once it is as asked."""
        end = time.monotonic() + seconds
        while True:
            text = self.text()
            if is_there(text):
                return text
            assert time.monotonic() < end, f"{what} did not show within {seconds} s. The page has: {text[:3000]}"
            time.sleep(0.5)

    def click(self, selector, *, text=""):
        """Clicks on the first element of a CSS selector, in any shadow root, whose text contains this."""
        place = f"({FIND})(document, {json.dumps(selector)}, {json.dumps(text)})"
        found = self.evaluate(f"(() => {{ const one = {place}; if (one) one.click(); return !!one; }})()")
        assert found, f"There is no {selector} with {text!r} to click on."

    def set(self, selector, name, value):
        """Gives a property of an element a value, as its own widgets do."""
        self._with(selector, f"found[{json.dumps(name)}] = {json.dumps(value)}")

    def fill(self, selector, text):
        """Writes text into an input."""
        written = f'found.value = {json.dumps(text)}; found.dispatchEvent(new Event("input", {{bubbles: true}}))'
        self._with(selector, written)

    def _with(self, selector, script):
        """Runs a script on the first element of a path of selectors, each in the shadow of the one before."""
        assert self.evaluate(f"""(() => {{
            let found = document;
            for (const one of {json.dumps(selector.split())}) found = found && ({FIND})(found, one);
            if (found) {{ {script}; }}
            return !!found;
        }})()"""), f"There is no {selector}."

    def screenshot(self, path, clip=None):
        """Writes the page, or a part ``(x, y, width, height)``, as PNG."""
        names = ("x", "y", "width", "height")
        options = {} if clip is None else {"clip": dict(zip(names, clip, strict=True)) | {"scale": 1}}
        path.write_bytes(base64.b64decode(self._ask("Page.captureScreenshot", format="png", **options)["data"]))

    def _ask(self, method, **arguments):
        self._number += 1
        message = {"id": self._number, "method": method, "params": arguments}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _next(self):
        while b"\0" not in self._rest:
            part = os.read(self._from, 1 << 16)
            assert part, "Chromium has ended."
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)


TEXT = """function read(node) {
    if (!node) return "";
    if (node.nodeType === Node.TEXT_NODE) return node.textContent;
    if (["SCRIPT", "STYLE", "TEMPLATE"].includes(node.nodeName)) return "";
    if (node.nodeType === Node.ELEMENT_NODE && getComputedStyle(node).display === "none") return "";
    const parts = node.nodeName === "INPUT" ? [node.value] : [];
    if (node.nodeName === "IFRAME" && node.contentDocument && node.contentDocument.body)
        parts.push(read(node.contentDocument.body));
    for (const child of (node.shadowRoot || node).childNodes) parts.push(read(child));
    if (node.nodeName === "SLOT") for (const child of node.assignedNodes()) parts.push(read(child));
    return parts.join(" ").replace(/\\s+/g, " ");
}"""

# the first element of a selector, in any shadow root or frame beneath a root
FIND = """(root, selector, text = "") => {
    const waiting = [root.shadowRoot || root];
    while (waiting.length) {
        const next = waiting.shift();
        for (const one of next.querySelectorAll(selector)) if (one.textContent.includes(text)) return one;
        for (const one of next.querySelectorAll("*")) {
            if (one.shadowRoot) waiting.push(one.shadowRoot);
            if (one.nodeName === "IFRAME" && one.contentDocument) waiting.push(one.contentDocument);
        }
    }
}"""
