"""`python -m client.health`: the container's health check. Exit code 0 while the proxy says ready, else 1.

It prints no token: what a health check prints is kept where others read it.
"""

import os
import sys

import httpx


def main() -> int:
    """Ask the proxy of this container."""
    url = f"http://127.0.0.1:{os.environ['NEUROQ_PROXY_PORT']}/health"
    try:
        reply = httpx.get(url, trust_env=False, timeout=4)
    except httpx.HTTPError as error:
        print(f"no answer from {url}: {error}")
        return 1
    print(reply.text)
    return 0 if reply.is_success else 1


if __name__ == "__main__":
    sys.exit(main())
