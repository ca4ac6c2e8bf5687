"""Notes as HTML: Markdown as its writers expect it, and nothing in it that could do anything.

What markdown-it-py makes of it is cleaned once more by nh3, which knows the elements, attributes
and schemes that may be there. Pictures are left out: a page of ours asks no other server.
"""

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup

_MARKDOWN = MarkdownIt("commonmark", {"html": False}).enable("table")
_ELEMENTS = {
    *("a", "blockquote", "br", "code", "em", "hr", "li", "ol", "p", "pre", "strong", "ul"),
    *("table", "tbody", "td", "th", "thead", "tr"),
}


def render(note: str) -> Markup:
    cleaned = nh3.clean(
        _MARKDOWN.render(note),
        tags=_ELEMENTS,
        clean_content_tags={"script", "style"},
        attributes={"a": {"href"}},
        url_schemes={"http", "https", "mailto"},
        link_rel="nofollow noopener noreferrer",
    )
    return Markup(cleaned)
