"""``python -m kzoo``: the same as the command ``kzoo``."""

from kzoo.cli.main import main

main()
