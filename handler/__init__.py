"""The TorchServe side: requests, conversations and replies around the engine. Nothing here can train."""
