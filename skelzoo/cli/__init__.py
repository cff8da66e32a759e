"""The command line: every verb calls one public function and prints what it gives. Heavy imports wait inside the verbs."""

from skelzoo.cli.main import main as main
