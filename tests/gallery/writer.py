"""Forks processes that enrol and remove at random and log what they were told is done. Run by the
tests of crashes.
"""

import os
import random
import sys

import numpy as np

from quickstudy.gallery import Gallery

DIM = 8


def templates(name: str, n: int) -> np.ndarray:
    """Which vectors an identity is enrolled with follows from its name."""
    return np.random.default_rng(list(name.encode())).normal(size=(n, DIM))


def write(place: str, seed: int, changes: int, log: str) -> None:
    """Each change is announced before it is begun, and again when it was acknowledged."""
    out = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    gallery, rng, mine = Gallery.open(place), random.Random(seed), list[str]()
    for i in range(changes):
        if mine and rng.random() < 0.4:
            what, name, n = "remove", mine.pop(rng.randrange(len(mine))), 0
        else:
            what, name, n = "enrol", f"{seed}-{i}", rng.randint(1, 4)
            mine.append(name)
        os.write(out, f"begin {what} {name} {n}\n".encode())
        if what == "remove":
            gallery.remove(name)
        else:
            gallery.enrol(name, templates(name, n), force=True)
        os.write(out, f"done {what} {name} {n}\n".encode())
    gallery.close()


def main() -> None:
    """``start PLACE SEED CHANGES LOG`` answers with a process, ``wait PROCESS`` with its status
    when it has ended.
    """
    for line in sys.stdin:
        what, *rest = line.rstrip("\n").split("\t")
        if what == "start":
            process = os.fork()
            if not process:
                status = 1
                try:
                    write(rest[0], int(rest[1]), int(rest[2]), rest[3])
                    status = 0
                finally:
                    os._exit(status)
            print(process, flush=True)
        else:
            print(os.waitstatus_to_exitcode(os.waitpid(int(rest[0]), 0)[1]), flush=True)


if __name__ == "__main__":
    main()
