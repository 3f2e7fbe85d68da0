"""MediaPipe's face mesh, each picture for itself: it detects and places 468 points, embeds nothing."""

from time import process_time

import mediapipe

from serve import serve

mesh = mediapipe.solutions.face_mesh.FaceMesh(static_image_mode=True, max_num_faces=1)


def look(picture):
    start = process_time()
    faces = mesh.process(picture).multi_face_landmarks
    end = process_time()
    if not faces:
        return {"box": None}
    height, width, _ = picture.shape
    x = [point.x * width for point in faces[0].landmark]
    y = [point.y * height for point in faces[0].landmark]
    return {"box": [min(x), min(y), max(x), max(y)], "located_ms": (end - start) * 1e3}


serve(["mediapipe"], look)
