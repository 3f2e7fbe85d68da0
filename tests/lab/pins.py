#!/usr/bin/env python3
"""The pins of an emulated Raspberry Pi as its outside sees them: pins.py SOCKET

Reads the register GPLEV0 over QEMU's QMP socket 20 times a second, and prints a line for each pin that has
changed since: the time in ms, the pin, and its level.
"""

import json
import socket
import sys
import time

GPLEV0 = 0x3F200034



def watch(stream):
    def ask(command, **arguments):
        stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        stream.flush()
        while line := stream.readline():
            answer = json.loads(line)
            if "error" in answer:
                sys.exit(answer["error"]["desc"])
            if "return" in answer:
                return answer["return"]
        sys.exit()  # the machine is gone

    stream.readline()  # the greeting
    ask("qmp_capabilities")
    last = 0
    while True:
        said = ask("human-monitor-command", **{"command-line": f"xp /1wx {GPLEV0:#x}"})
        levels, now = int(said.split(":")[1], 16), int(time.time() * 1000)
        for pin in range(32):
            if (levels ^ last) >> pin & 1:
                print(now, pin, levels >> pin & 1, flush=True)
        last = levels
        time.sleep(0.05)


with socket.socket(socket.AF_UNIX) as qmp:
    qmp.connect(sys.argv[1])
    try:
        watch(qmp.makefile("rw"))
    except ConnectionError:
        pass  # the machine is gone
