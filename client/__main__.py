"""`python -m client COMMAND`, which `./neuroq COMMAND` becomes once its environment is there."""

import sys

try:
    from client.cli import main
    from client.modules import stand_where_called
except KeyboardInterrupt:
    sys.stderr.write("neuroq: interrupted\n")
    sys.exit(130)

if __name__ == "__main__":
    stand_where_called()
    main()
