"""Markdown of strangers as HTML that can do no harm: notes of jobs.

What markdown-it-py makes of it is cleaned once more by nh3, which knows the elements, attributes
and schemes that may be there. HTML in it is text. Headings become bold lines, as those of the page
are its own, and pictures their descriptions: a page of ours asks no other server.
"""

from collections.abc import Sequence
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup, escape

from buildsrht.web.shown import harmless

TAGS = {
    *("p", "br", "hr", "em", "strong", "code", "pre", "blockquote", "a"),
    *("ul", "ol", "li"),
}
ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}}
SCHEMES = {"http", "https", "mailto"}
LINKS_ARE = "nofollow noopener noreferrer"


class _Renderer(RendererHTML):
    def heading_open(self, *_: Any) -> str:
        return "<p><strong>"

    def heading_close(self, *_: Any) -> str:
        return "</strong></p>\n"

    def image(self, tokens: Sequence[Token], place: int, options: Any, env: Any) -> str:
        described = self.renderInlineAsText(tokens[place].children, options, env)
        return str(escape(described))


PARSER = MarkdownIt("commonmark", {"html": False}, renderer_cls=_Renderer)


def render(text: str) -> Markup:
    """What a page shows of it."""
    html = PARSER.render(harmless(text))
    clean = nh3.clean(
        html, tags=TAGS, attributes=ATTRIBUTES, url_schemes=SCHEMES, link_rel=LINKS_ARE
    )
    return Markup(clean)
