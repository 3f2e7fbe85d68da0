"""BlazeFace and the alignment of faces, as far as calibration needs them."""

import cv2
import numpy as np
import tensorflow as tf

# The first four keypoints of the float short-range BlazeFace (eye on the image's left, eye on its
# right, nose, mouth) in the 150-pixel crop that dlib's network expects. README.md says how fitted.
TEMPLATE = np.array(
    [
        [46.82899618208164, 46.992855670672036],
        [102.49229133043428, 47.55158040915035],
        [73.89784125895096, 78.20128450126673],
        [73.64028660874777, 107.83088413944982],
    ]
)


def letterbox(rgb, size):
    """Fits the image into a black square. Returns it with its scale and offsets."""
    height, width = rgb.shape[:2]
    scale = size / max(height, width)
    left, top = (size - width * scale) / 2, (size - height * scale) / 2
    if scale < 0.5:  # bilinear sampling would alias
        small = cv2.resize(
            rgb,
            (max(1, round(width * scale)), max(1, round(height * scale))),
            interpolation=cv2.INTER_AREA,
        )
        top, left = (size - small.shape[0]) // 2, (size - small.shape[1]) // 2
        square = np.zeros((size, size, 3), np.uint8)
        square[top : top + small.shape[0], left : left + small.shape[1]] = small
        return square, scale, left, top
    centre = (scale - 1) / 2  # pixels are measured at their centres
    matrix = np.array([[scale, 0, left + centre], [0, scale, top + centre]], np.float32)
    square = cv2.warpAffine(rgb, matrix, (size, size), flags=cv2.INTER_LINEAR)
    return square, scale, left, top


class ShortRange:
    """The float short-range detector: finds the faces to calibrate the embedder with."""

    SIZE = 128

    def __init__(self, path, threshold=0.5):
        self.threshold = threshold
        self.net = tf.lite.Interpreter(str(path), num_threads=1)
        self.net.allocate_tensors()
        self.input = self.net.get_input_details()[0]["index"]
        self.outputs = {o["shape"][-1]: o["index"] for o in self.net.get_output_details()}
        # Two anchors a cell of 16 x 16, then six a cell of 8 x 8, all at the cell's centre.
        self.anchors = np.array(
            [
                ((x + 0.5) / cells, (y + 0.5) / cells)
                for cells, per_cell in ((16, 2), (8, 6))
                for y in range(cells)
                for x in range(cells)
                for _ in range(per_cell)
            ],
            np.float32,
        )

    def __call__(self, rgb):
        """Yields score and the six keypoints, in the image's pixels, of every face."""
        square, scale, left, top = letterbox(rgb, self.SIZE)
        self.net.set_tensor(self.input, (square.astype(np.float32) * (2 / 255.0) - 1)[None])
        self.net.invoke()
        regression = self.net.get_tensor(self.outputs[16])[0].astype(np.float32)
        logits = self.net.get_tensor(self.outputs[1])[0].astype(np.float32)[:, 0]
        for score, keypoints in self._decode(regression, logits):
            yield score, (keypoints * self.SIZE - np.array([left, top])) / scale

    def _decode(self, regression, logits):
        scores = 1 / (1 + np.exp(-np.clip(logits, -80, 80)))
        found = scores >= self.threshold
        values, anchors, scores = regression[found] / self.SIZE, self.anchors[found], scores[found]
        if not len(scores):
            return
        centres, sizes = values[:, 0:2] + anchors, values[:, 2:4]
        keypoints = values[:, 4:].reshape(-1, 6, 2) + anchors[:, None]
        boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], 1)
        order = np.argsort(-scores)
        while len(order):  # non-maximum suppression: overlapping faces are averaged by score
            same = overlap(boxes[order[0]], boxes[order]) > 0.3
            group = order[same]
            weights = scores[group] / scores[group].sum()
            yield float(scores[order[0]]), (keypoints[group] * weights[:, None, None]).sum(0)
            order = order[~same]


def overlap(box, boxes):
    """Intersection over union of one box with many."""
    width = np.clip(np.minimum(box[2], boxes[:, 2]) - np.maximum(box[0], boxes[:, 0]), 0, None)
    height = np.clip(np.minimum(box[3], boxes[:, 3]) - np.maximum(box[1], boxes[:, 1]), 0, None)
    common = width * height
    area = (box[2] - box[0]) * (box[3] - box[1])
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return common / (area + areas - common + 1e-9)


def similarity(source, target):
    """The similarity (no reflection) that takes source to target best by least squares: 2 x 3."""
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    source_mean, target_mean = source.mean(0), target.mean(0)
    a, b = source - source_mean, target - target_mean
    norm = (a**2).sum()
    cos = (a * b).sum() / norm
    sin = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / norm
    rotation = np.array([[cos, -sin], [sin, cos]])
    return np.hstack([rotation, (target_mean - rotation @ source_mean)[:, None]])


def align(rgb, keypoints, size=150, template=TEMPLATE):
    """Cuts the face out of the image as the embedder wants it."""
    matrix = similarity(keypoints[:4], template)
    scale = np.hypot(matrix[0, 0], matrix[1, 0])
    if scale < 0.5:  # a big face is shrunk first: bilinear sampling would alias
        factor = 2 ** int(np.floor(np.log2(1 / scale)))
        rgb = cv2.resize(
            rgb, (rgb.shape[1] // factor, rgb.shape[0] // factor), interpolation=cv2.INTER_AREA
        )
        matrix[:, :2] *= factor
    return cv2.warpAffine(rgb, matrix, (size, size), flags=cv2.INTER_LINEAR)
