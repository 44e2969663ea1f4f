"""The NeuroQ language model and its engine.

Knows token ids, tensors and files, nothing of HTTP, TorchServe or training: it may outlive each of them.
"""

__version__ = "0.1.0"
