"""XML that is made here: pictures and feeds. What is in it is text, whatever somebody wrote."""

import re
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from flask import Response, request

# XML 1.0 has no way to write these, not even as references.
UNWRITABLE = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

SECONDS = 30


def element(name: str, /, *children: "Element | str", **attributes: object) -> Element:
    """`class_` is written class, `stroke_width` stroke-width, and `xmlns__atom` xmlns:atom."""
    names = {
        key: key.rstrip("_").replace("__", ":").replace("_", "-") if "_" in key else key
        for key in attributes
    }
    made = Element(name, {names[key]: _writable(str(value)) for key, value in attributes.items()})
    for child in children:
        if isinstance(child, str):
            made.text = _writable(child)
        else:
            made.append(child)
    return made


def _writable(text: str) -> str:
    return UNWRITABLE.sub("\ufffd", text)


def written(root: Element) -> bytes:
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def respond(root: Element, content_type: str) -> Response:
    """An answer that is the same for everybody: caches keep it for a moment, and then ask."""
    response = Response(written(root), content_type=f"{content_type}; charset=utf-8")
    response.headers["Cache-Control"] = f"public, max-age={SECONDS}"
    response.add_etag()
    response.make_conditional(request)
    return response
