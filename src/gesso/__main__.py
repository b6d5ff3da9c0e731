"""`python -m gesso`: the command line."""

from gesso.cli.main import main

main()
