"""What NeuroQ's layers are worth: variants of the network, each with the same time to learn."""
