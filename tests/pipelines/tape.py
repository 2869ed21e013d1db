"""A tracker that writes what it hears to `tape`, for the tests of the relay."""

import os
import socket
import sys

from pipelines import _relay


class Tape:
    def __init__(self, name: str) -> None:
        self.name = name
        self.points("opened")

    def points(self, what: str) -> None:
        if what == "bad":
            raise ValueError("no such point")
        with open("tape", "a") as tape:
            tape.write(f"{os.getpid()} {self.name} {what}\n")

    end = points


if __name__ == "__main__":
    _relay.serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2], Tape)
