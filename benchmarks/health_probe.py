"""The address of a server in, seconds that each /healthz took out, in JSON, when the input ends.

It is a process of its own: clients that share it would be measured, too.
"""

import http.client
import json
import sys
import threading
import time

_PAUSE_SECONDS = 0.05


def probe(address: str, is_over: threading.Event) -> list[float]:
    """Ask for health, over and over, on one connection."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=60)
    seconds = []
    while not is_over.wait(_PAUSE_SECONDS):
        begun = time.perf_counter()
        connection.request("GET", "/healthz")
        response = connection.getresponse()
        response.read()
        seconds.append(time.perf_counter() - begun)
        if response.status != 200:
            raise RuntimeError(f"/healthz says {response.status}")
    return seconds


def main() -> None:
    """Probe until nothing more comes in."""
    is_over = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        is_over.set()

    threading.Thread(target=wait, daemon=True).start()
    print(json.dumps(probe(sys.argv[1], is_over)))


if __name__ == "__main__":
    main()
