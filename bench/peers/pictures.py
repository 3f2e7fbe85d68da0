"""The pictures that everybody looks at, as binary PPM: no decoder comes between them and the pixels."""

import random

from PIL import Image, ImageFilter, ImageOps

SIZE = (640, 480)
# Width of the face in a frame, as of somebody about a metre from the door.
FACE = 140
# How far from the middle of a frame a face may be, at most.
OFF = (120, 60)


def open_photo(path):
    with Image.open(path) as photo:
        return ImageOps.exif_transpose(photo).convert("RGB")


def save(picture, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, format="PPM")


def frame(photo, box, number):
    """A camera's scene, a blurred ground, and its frame with the photo's face (`box`) around the middle."""
    left, top, right, bottom = box
    scale = FACE / (right - left)
    chance = random.Random(number)
    centre = [side / 2 + chance.uniform(-off, off) for side, off in zip(SIZE, OFF)]
    corner = (
        round(centre[0] - scale * (left + right) / 2),
        round(centre[1] - scale * (top + bottom) / 2),
    )
    ground = photo.resize(SIZE).filter(ImageFilter.GaussianBlur(15))
    size = [round(scale * side) for side in photo.size]
    seen = ground.copy()
    seen.paste(photo.resize(size, Image.Resampling.BICUBIC), corner)
    return ground, seen
