"""Write the manual page anew."""

from buildsrht.cli import commands
from contrib.man import PLACE, page

PLACE.write_text(page(commands), encoding="utf-8")
