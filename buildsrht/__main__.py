"""`python -m buildsrht`, the same as the command `buildsrht`."""

from buildsrht.cli import main

main()
