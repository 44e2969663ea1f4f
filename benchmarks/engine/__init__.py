"""Decode speed: NeuroQ's engine and its rivals, side by side on one machine, one thread each."""
