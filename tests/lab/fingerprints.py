"""Compares what bench/examples/fingerprint.rs printed on two machines, and says so in one line.

Pixels and detections must be the same to the last digit, and embeddings byte for byte. The mesh is the one model that
computes with floats, and another processor adds them in another order: its points may lie a little apart, which
models/src/align.rs rounds away.
"""

import json
import sys

MESH = 0.001  # pixels


def numbers(points):
    return [float(value) for point in points for value in point]


def main(here, there):
    with open(here) as one, open(there) as other:
        pairs = list(zip(map(json.loads, one), map(json.loads, other)))
    wrong = [a["name"] for a, b in pairs if any(a[k] != b[k] for k in ("name", "pixels", "faces"))]
    wrong += [a["name"] for a, b in pairs if ("embedding" in a) != ("embedding" in b)]
    embedded = [(a, b) for a, b in pairs if "embedding" in a and "embedding" in b]
    mesh = max((abs(x - y) for a, b in embedded for x, y in zip(numbers(a["mesh"]), numbers(b["mesh"]))), default=0)
    same = sum(a["embedding"] == b["embedding"] for a, b in embedded)
    print(
        f"{len(pairs)} photos, {sum(len(a['faces']) for a, _ in pairs)} faces, {len(wrong)} photos with other detections; "
        f"{same} of {len(embedded)} embeddings the same byte for byte, mesh points at most {mesh:.5f} px apart"
    )
    for name in wrong[:5]:
        print(f"other detections in {name}", file=sys.stderr)
    sys.exit(not embedded or bool(wrong) or same < len(embedded) or mesh > MESH)


main(*sys.argv[1:])
