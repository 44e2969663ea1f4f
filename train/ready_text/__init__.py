"""Ready text: real Japanese from the package registries, as a corpus with its licences."""
