"""Starting, watching and stopping one TorchServe. Knows nothing of the model: loopback HTTP only."""
