"""`python -m client COMMAND`, which `./neuroq COMMAND` becomes once its environment is there."""

from client.cli import main

if __name__ == "__main__":
    main()
