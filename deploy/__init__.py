"""Platforms: each talks to the server over loopback HTTP and knows nothing of the engine."""
