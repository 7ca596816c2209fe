"""``python -m quickstudy``."""

from quickstudy.cli import main

main()
