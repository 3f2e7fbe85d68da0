"""The systems that are compared, and the processes that run them."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Whatever library a system computes with, it has one thread.
ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}


@dataclass
class System:
    name: str
    setup: str
    command: list
    timed: bool = True
    embeds: bool = True
    judged: bool = True


def systems(work, rollcall):
    """All of them, the two of ours that are timed first: the others are compared with them."""
    def python(peer):
        return [str(work / peer / "bin/python"), "-B", str(HERE / f"{peer}_worker.py")]

    node = ["node", str(HERE / "face_api_worker.js")]
    return [
        System("Rollcall, door", "a frame with a new face", [rollcall, "--door"], judged=False),
        System("Rollcall", "a picture's single look", [rollcall]),
        System("Rollcall, enrolling", "five sizes", [rollcall, "--look", "study"], timed=False),
        System("face_recognition", "defaults: HOG", python("face_recognition")),
        System("face-api, tiny", "tiny detector at 224, tiny landmarks", [*node, "tiny"]),
        System("face-api", "defaults: SSD MobileNet", [*node, "ssd"]),
        System("MediaPipe", "face mesh, static", python("mediapipe"), embeds=False),
    ]


class Worker:
    """A running system: `ask` it to look at a picture."""

    def __init__(self, system, work, core=None):
        self.system = system
        self.log = work / f"{system.name.replace(', ', '-')}.log"
        pinned = [] if core is None else ["taskset", "--cpu-list", str(core)]
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [*pinned, *system.command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | ONE_THREAD | {"NODE_PATH": str(work / "node/node_modules")},
            )
        self.version = self.answer()["ready"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()

    def ask(self, path):
        try:
            print(path, file=self.process.stdin, flush=True)
        except BrokenPipeError:
            pass  # that it has ended is told below
        return self.answer()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"peers: {self.system.name} ended without an answer; see {self.log}")
        return json.loads(line)
