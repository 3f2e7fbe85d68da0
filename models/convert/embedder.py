"""dlib's face recognition ResNet as an int8 TensorFlow Lite model."""

import cv2
import numpy as np
import tensorflow as tf

import dlib_weights
from blaze import ShortRange, align


def network(mean, convolutions, dense):
    """The forward pass, raw RGB [N, 150, 150, 3] to embeddings [N, 128].

    Plain TensorFlow operations on constants: a Keras 3 model makes the converter abort.
    """
    # dlib subtracts the mean and divides by 256. Both fold into the first convolution, exactly so
    # since that one has no padding.
    weights, bias = convolutions[0]
    scaled = weights.astype(np.float64) / 256.0
    shift = (scaled * np.array(mean, np.float64)[None, None, :, None]).sum((0, 1, 2))
    layers = [(scaled.astype(np.float32), (bias - shift).astype(np.float32))] + convolutions[1:]

    def forward(image):
        remaining = iter(layers)

        def conv(x, stride, relu):
            weights, bias = next(remaining)
            padding = "VALID" if stride > 1 else "SAME"
            y = tf.nn.conv2d(x, tf.constant(weights), stride, padding)
            y = tf.nn.bias_add(y, tf.constant(bias))
            return tf.nn.relu(y) if relu else y

        def residual(x):
            return tf.nn.relu(tf.add(conv(conv(x, 1, True), 1, False), x))

        def residual_down(x):
            y = conv(conv(x, 2, True), 1, False)
            pooled = tf.nn.avg_pool2d(x, 2, 2, "VALID")
            # dlib's add_prev: the smaller one is padded with zeros, at the bottom, on the right and
            # in further channels.
            rows, channels = pooled.shape[1] - y.shape[1], y.shape[3] - pooled.shape[3]
            if rows:
                y = tf.pad(y, [[0, 0], [0, rows], [0, rows], [0, 0]])
            if channels:
                pooled = tf.pad(pooled, [[0, 0], [0, 0], [0, 0], [0, channels]])
            return tf.nn.relu(tf.add(pooled, y))

        x = tf.nn.max_pool2d(conv(image, 2, True), 3, 2, "VALID")
        for _ in range(3):
            x = residual(x)
        for count in (3, 2, 2):
            x = residual_down(x)
            for _ in range(count):
                x = residual(x)
        x = residual_down(x)
        return tf.matmul(tf.reduce_mean(x, [1, 2]), tf.constant(dense))

    return forward


def faces(detector, photos, crop=align):
    """Every face of the photos once, aligned. Overlapping tiles find the small ones, too."""
    crops = []
    for photo in photos:
        rgb = np.ascontiguousarray(cv2.imread(str(photo))[:, :, ::-1])
        height, width = rgb.shape[:2]
        seen = []
        for share in (1.0, 0.5, 0.35):
            side = int(min(height, width) * share)
            step = max(1, side // 2)
            for y in range(0, height - side + 1, step):
                for x in range(0, width - side + 1, step):
                    tile = np.ascontiguousarray(rgb[y : y + side, x : x + side])
                    for score, keypoints in detector(tile):
                        keypoints = keypoints + [x, y]
                        centre = keypoints[:4].mean(0)
                        eyes = np.hypot(*(keypoints[0] - keypoints[1]))
                        if eyes < 18 or score < 0.6:
                            continue
                        if any(np.hypot(*(centre - other)) < eyes for other in seen):
                            continue
                        seen.append(centre)
                        crops.append(crop(rgb, keypoints).astype(np.float32))
    return crops


def variants(crops):
    """Each crop and its mirror image, in four kinds of light."""
    return [
        np.clip(image * gain + offset, 0, 255).astype(np.float32)
        for crop in crops
        for image in (crop, crop[:, ::-1])
        for gain, offset in ((1, 0), (0.7, 0), (1.15, 15), (0.5, 10))
    ]


def converter_of(forward, side):
    """A converter of a network that takes a square of so many pixels a side."""
    signature = tf.TensorSpec((1, side, side, 3), tf.float32, name="image")
    function = tf.function(forward).get_concrete_function(signature)
    return tf.lite.TFLiteConverter.from_concrete_functions([function])


def quantized(converter, images):
    """Converts to int8, calibrated on the images: bytes in, bytes out."""
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in images)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.int8
    return converter.convert()


def as_float(weights):
    """Returns the float model: raw RGB from 0 to 255 as floats."""
    return converter_of(network(*dlib_weights.load(weights)), 150).convert()


def convert(weights, short_range, photos):
    """Returns the int8 model: weights and activations quantized, calibrated on the photos."""
    images = variants(faces(ShortRange(short_range), photos))
    return quantized(converter_of(network(*dlib_weights.load(weights)), 150), images)
