"""face_recognition as its README uses it: HOG detector, five landmarks, one look a face."""

from time import process_time

import face_recognition

from serve import central, serve


def look(picture):
    start = process_time()
    places = face_recognition.face_locations(picture)
    boxes = [(left, top, right, bottom) for top, right, bottom, left in places]
    box = central(boxes, picture)
    if box is None:
        return {"box": None}
    detected = process_time()
    left, top, right, bottom = box
    [embedding] = face_recognition.face_encodings(picture, [(top, right, bottom, left)])
    end = process_time()
    return {
        "box": box,
        "detect_ms": (detected - start) * 1e3,
        "ms": (end - start) * 1e3,
        "embedding": embedding.tolist(),
    }


serve(["face_recognition", "dlib"], look)
