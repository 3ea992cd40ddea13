"""Connects Plumbline to a model in another process: python relay.py SOCKET.

Copies standard input to the process's socket and the socket to standard output, until either ends. Imports the standard
library alone, so that it starts at once.
"""

import os
import select
import socket
import sys


def main() -> int:
    if len(sys.argv) != 2:
        print("usage: python relay.py SOCKET", file=sys.stderr)
        return 2
    with socket.socket(socket.AF_UNIX) as other:
        try:
            other.connect(sys.argv[1])
            while True:
                ready, _, _ = select.select([0, other.fileno()], [], [])
                if other.fileno() in ready:
                    data = other.recv(1 << 16)
                    if not data:
                        return 0
                    write(data)
                if 0 in ready:
                    data = os.read(0, 1 << 16)
                    if not data:
                        return 0
                    other.sendall(data)
        except OSError as error:
            print(f"the process that holds the model cannot be reached: {error}", file=sys.stderr)
            return 1


def write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data):]


if __name__ == "__main__":
    sys.exit(main())
