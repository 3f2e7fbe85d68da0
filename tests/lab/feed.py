#!/usr/bin/env python3
"""The other side of a v4l2loopback camera.

  feed.py DEVICE FORMAT FOLDER     shows the files of FOLDER, 640x480 in that pixel format, 5 a second,
                                   again and again; prints "feeding" once they are being taken
  feed.py --compare FILE FOLDER    whether FILE, a recording, is nothing but files of FOLDER one after the
                                   other; prints their number and how many of them are different
"""

import fcntl
import os
import pathlib
import struct
import sys
import time

WIDTH, HEIGHT = 640, 480
RATE = 5  # an emulated machine has no time for more: decoding and recognising go on at the same time
VIDIOC_S_FMT = 0xC0D05605
OUTPUT, PROGRESSIVE, SRGB = 2, 1, 8  # of v4l2_buf_type, v4l2_field, v4l2_colorspace


def feed(device, pixels, frames):
    out = os.open(device, os.O_RDWR)
    size = max(len(frame) for frame in frames)
    size = max(size, 2 * WIDTH * HEIGHT)
    code = int.from_bytes(pixels.encode(), "little")
    asked = struct.pack("=I4xIIIIIII", OUTPUT, WIDTH, HEIGHT, code, PROGRESSIVE, 0, size, SRGB)
    given = fcntl.ioctl(out, VIDIOC_S_FMT, asked.ljust(208, b"\0"))
    if given[8:20] != asked[8:20]:
        sys.exit(f"{device} takes {given[16:20].decode()} and not {pixels}")
    due, said = time.monotonic(), False
    while True:
        for frame in frames:
            os.write(out, frame)
            if not said:
                print("feeding", flush=True)
                said = True
            due = max(due + 1 / RATE, time.monotonic())
            time.sleep(due - time.monotonic() if due > time.monotonic() else 0)


def compare(recording, frames):
    whole = pathlib.Path(recording).read_bytes()
    at, seen = 0, []
    while at < len(whole):
        fits = [frame for frame in frames if whole.startswith(frame, at)]
        if not fits:
            sys.exit(f"after {len(seen)} frames comes one that was never written")
        seen.append(fits[0])
        at += len(fits[0])
    print(len(seen), len(set(seen)))


*what, folder = sys.argv[1:]
frames = [path.read_bytes() for path in sorted(pathlib.Path(folder).iterdir())]
if what[0] == "--compare":
    compare(what[1], frames)
else:
    feed(*what, frames)
