"""Write every page of the reference anew."""

from contrib.reference import PLACE, pages

PLACE.mkdir(exist_ok=True)
for name, text in pages().items():
    (PLACE / name).write_text(text, encoding="utf-8")
