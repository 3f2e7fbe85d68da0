#!/usr/bin/env python3
"""What a camera sees: faces.py PHOTO FOLDER

Makes FOLDER/person, 30 frames of 640x480 of whom the photo shows, standing before the camera, and
FOLDER/nobody, the same scene without anybody. Nobody stands quite still: all frames are different.
"""

import pathlib
import sys

from PIL import Image

photo, folder = sys.argv[1:]
somebody, nobody = (pathlib.Path(folder, name) for name in ("person", "nobody"))
somebody.mkdir()
nobody.mkdir()
person = Image.open(photo).convert("RGB")
person = person.resize((person.width * 480 // person.height, 480))
# A scene that is not quite flat, as none is.
scene = Image.linear_gradient("L").resize((640, 480)).point(lambda v: 90 + v // 8).convert("RGB")
for number in range(30):
    frame = scene.copy()
    frame.paste(person, (120 + number % 15, number % 5 + number // 15))
    frame.save(somebody / f"{number:02}.jpg", quality=85)
scene.save(nobody / "0.jpg", quality=85)
