"""``python -m skelzoo`` is the command ``skelzoo``."""

from skelzoo.cli import main

main(prog_name="skelzoo")
