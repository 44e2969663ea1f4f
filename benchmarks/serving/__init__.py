"""Throughput and latency through real servers: NeuroQ, TorchServe around Hugging Face, llama.cpp."""
