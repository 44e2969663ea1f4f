"""What a person types: the command line, the Python client and the terminal chat."""
