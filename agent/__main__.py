"""``python -m agent`` is ``gatepost``."""

from agent.cli import main

main()
