"""The elementwise parts of a training step on a processor, in C++."""
