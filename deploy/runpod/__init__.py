"""RunPod serverless: a worker that takes jobs to the TorchServe in its container (docs/runpod.md)."""
