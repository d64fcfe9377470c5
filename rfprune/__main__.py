"""Allows ``python -m rfprune``."""

from rfprune.cli import main

main()
