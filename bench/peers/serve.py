"""A worker's side of the conversation: a path a line comes in, a line of JSON goes out.

Workers count processor time, of all their threads: it is what the clock on the wall would show if
nobody else wanted the core, and it doesn't favour whoever is done before the others' next turn.
"""

import json
import sys
from importlib.metadata import version

import numpy


def serve(packages, look):
    """Tells the packages' versions, then answers each path with `look(picture)`."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer

    def answer(what):
        print(json.dumps(what), file=answers, flush=True)

    answer({"ready": ", ".join(f"{name} {version(name)}" for name in packages)})
    for line in sys.stdin:
        answer(look(read(line.rstrip("\n"))))


def read(path):
    """A binary PPM with three lines of header as rows of RGB pixels."""
    with open(path, "rb") as file:
        magic, size, depth = (file.readline().split() for _ in range(3))
        if magic != [b"P6"] or depth != [b"255"]:
            raise ValueError(f"not a binary PPM: {path}")
        width, height = map(int, size)
        return numpy.frombuffer(bytearray(file.read()), numpy.uint8).reshape(height, width, 3)


def central(boxes, picture):
    """The box nearest to the middle, a larger one counting as nearer by a quarter of its width."""
    height, width, _ = picture.shape

    def off(box):
        left, top, right, bottom = box
        x, y = (left + right - width) / 2, (top + bottom - height) / 2
        return (x * x + y * y) ** 0.5 - 0.25 * (right - left)

    return min(boxes, key=off, default=None)
