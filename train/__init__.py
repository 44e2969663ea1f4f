"""Offline training: text in, checkpoint and tokenizer out. No serving process ever imports this package."""

import sys

if sys.argv[:1] == ["-m"]:  # `python -m train…`: this process is the command, from its first import on
    from train import command_line

    command_line.begin()
