"""`python -m bimba`, which is what launchers of several processes call: the words of the command line in."""

from bimba.cli import main

main()
