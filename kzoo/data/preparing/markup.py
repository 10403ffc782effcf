"""Text out of HTML, by the standard library's parser."""

import re
from html import unescape
from html.parser import HTMLParser

_HIDDEN = {"script", "style", "template", "noscript"}
_BLOCKS = set(
    "address article aside blockquote br dd div dl dt fieldset figcaption figure footer form h1 h2 h3 h4 h5 h6 header "
    "hr li main nav ol p pre section table tbody thead tr ul".split()
)
# a tag begins with a letter; "a < b" and "<3" are no tags, and placeholders such as <URL> are in capitals
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|<!--|<![a-zA-Z]")


class _Text(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag in _HIDDEN:
            self._hidden += 1
        elif tag in _BLOCKS:
            self.parts.append("\n")

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        if tag in _BLOCKS:
            self.parts.append("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag in _HIDDEN:
            self._hidden = max(self._hidden - 1, 0)
        elif tag in _BLOCKS:
            self.parts.append("\n")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.parts.append(data)


def without_tags(text: str) -> str:
    """The text without tags, comments, scripts and styles; entities are resolved, blocks get lines of their own."""
    if not _TAG.search(text):
        return unescape(text) if "&" in text else text
    parser = _Text()
    parser.feed(text)
    parser.close()
    return "\n".join(line for line in map(str.strip, "".join(parser.parts).split("\n")) if line)
