"""``python -m aga`` is ``aga``."""

from aga.cli import main

main()
