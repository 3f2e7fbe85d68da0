#!/usr/bin/env python3
"""A disk with a volatile write cache, for power.sh's guest: disk.py SOCKET IMAGE SEED

It serves IMAGE over NBD on the Unix socket SOCKET to one client. Writes stay in memory until the
client flushes. When the client goes away, the power is gone: each sector in the cache reaches the
image or is lost, as the seed has it. Real disks and SD cards do the same, in any order.
"""

import os
import random
import socket
import struct
import sys

# Sectors are written whole or not at all. Of 512 bytes they would be too much for Linux 6.1: ext4's
# journal is "corrupt" where a cut wrote only part of the 4 KiB block that ends a transaction.
SECTOR = 4096
READ, WRITE, DISCONNECT, FLUSH = range(4)
FUA = 1  # a write's flag: durable before it is answered
CAN_FLUSH, CAN_FUA = 1 | 4, 1 | 8

path, image, seed = sys.argv[1:]
chance = random.Random(seed)
disk = os.open(image, os.O_RDWR)
cache = {}  # sector: its bytes


def settle(sectors):
    for sector in sectors:
        os.pwrite(disk, cache.pop(sector), sector * SECTOR)


def read(offset, length):
    data = bytearray(os.pread(disk, length, offset))
    for at in range(0, length, SECTOR):
        held = cache.get((offset + at) // SECTOR)
        if held:
            data[at : at + SECTOR] = held
    return data


def serve(client):
    stream = client.makefile("rb")
    # NBD's old handshake: all that one export with one client needs.
    client.sendall(
        struct.pack(">8sQQI124x", b"NBDMAGIC", 0x00420281861253, os.path.getsize(image), CAN_FLUSH | CAN_FUA)
    )
    while len(header := stream.read(28)) == 28:
        _, flags, kind, handle, offset, length = struct.unpack(">IHHQQI", header)
        reply = struct.pack(">IIQ", 0x67446698, 0, handle)
        if kind == READ:
            reply += read(offset, length)
        elif kind == WRITE:
            data = stream.read(length)
            if len(data) < length:
                return
            sectors = range(offset // SECTOR, (offset + length) // SECTOR)
            for number, sector in enumerate(sectors):
                cache[sector] = data[number * SECTOR : (number + 1) * SECTOR]
            if flags & FUA:
                settle(sectors)
        elif kind == FLUSH:
            settle(list(cache))
        else:
            return
        client.sendall(reply)


with socket.socket(socket.AF_UNIX) as listener:
    listener.bind(path)
    listener.listen(1)
    client, _ = listener.accept()
try:
    serve(client)
except ConnectionError:
    pass
kept = chance.random()
settle([sector for sector in cache if chance.random() < kept])
