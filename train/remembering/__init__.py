"""Dialogues in which a model has to remember what it was told: python -m train.remembering OUTPUT.jsonl.

The frames and the lists of names, places and likes in frames.json were written; a seed draws them together.
"""
