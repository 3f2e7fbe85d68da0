"""face_recognition as its README uses it: HOG detector, five landmarks, one look a face."""

from time import perf_counter

import face_recognition

from serve import central, serve


def look(picture):
    start = perf_counter()
    places = face_recognition.face_locations(picture)
    boxes = [(left, top, right, bottom) for top, right, bottom, left in places]
    box = central(boxes, picture)
    if box is None:
        return {"box": None}
    detected = perf_counter()
    left, top, right, bottom = box
    [embedding] = face_recognition.face_encodings(picture, [(top, right, bottom, left)])
    end = perf_counter()
    return {
        "box": box,
        "detect_ms": (detected - start) * 1e3,
        "ms": (end - start) * 1e3,
        "embedding": embedding.tolist(),
    }


serve(["face_recognition", "dlib"], look)
