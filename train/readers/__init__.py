"""Readers of corpus files: each yields one document after the other and never holds a whole file."""
