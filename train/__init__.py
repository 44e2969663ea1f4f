"""Offline training: text in, checkpoint and tokenizer out. No serving process ever imports this package."""
