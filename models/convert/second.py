"""The face network of the HSE university as an int8 TensorFlow Lite model: the second embedder."""

import json

import numpy as np
import tensorflow as tf

import embedder
from blaze import TEMPLATE, ShortRange, align

# The network takes 224 pixels; one more, and no padding, lets its mean fold into the first layer.
SIDE = 225
# Its piece of the picture is a fifth larger than dlib's crop of 150 pixels, and a little higher up.
CROP, MIDDLE = 180, (75.0, 73.0)
# What its training subtracted: the mean colour, here as RGB.
MEAN = np.array([123.68, 116.779, 103.939])
# Numbers that are left of its 1024 features: a search costs an eighth of what all would.
NUMBERS = 128
# Some hundred faces in the package that the network comes from.
MORE = "package/assets/screenshot-facematch.jpg"
STRIDES = {2: 2, 4: 2, 6: 2, 12: 2}


def load(folder):
    """Returns the weights by name, as floats, of a TensorFlow.js graph model."""
    graph = json.loads((folder / "faceres.json").read_text())
    data = (folder / "faceres.bin").read_bytes()
    weights, position = {}, 0
    for entry in graph["weightsManifest"][0]["weights"]:
        kind = np.dtype(entry.get("quantization", entry)["dtype"])
        count = int(np.prod(entry["shape"]))
        values = np.frombuffer(data, kind, count, position)
        position += count * kind.itemsize
        weights[entry["name"]] = values.reshape(entry["shape"]).astype(np.float32)
    assert position == len(data), (position, len(data))
    return weights


def network(weights, centre=None, directions=None):
    """The forward pass of a MobileNet, raw RGB [N, 225, 225, 3] to its 1024 features, or to where they
    lie along some directions from a centre."""

    def bias(name):
        return tf.constant(weights[name].ravel())

    kernel = weights["conv1/convolution/merged_input"][:, :, ::-1]  # it was trained on BGR
    shift = (kernel.astype(np.float64) * MEAN[None, None, :, None]).sum((0, 1, 2))
    first = (weights["conv1_bn/batchnorm_1/sub"].ravel() - shift).astype(np.float32)

    def forward(x):
        x = tf.nn.conv2d(x, tf.constant(kernel.copy()), 2, "VALID")
        x = tf.nn.relu6(tf.nn.bias_add(x, tf.constant(first)))
        for layer in range(1, 14):
            name = f"conv_dw_{layer}_bn/batchnorm_1"
            kernels = weights[f"conv_dw_{layer}/depthwise_kernel"]
            kernels = kernels * weights[f"{name}/mul"].reshape(1, 1, -1, 1)
            stride = STRIDES.get(layer, 1)
            x = tf.nn.depthwise_conv2d(x, tf.constant(kernels), [1, stride, stride, 1], "SAME")
            x = tf.nn.relu6(tf.nn.bias_add(x, bias(f"{name}/sub")))
            kernels = weights[f"conv_pw_{layer}/convolution/merged_input"]
            x = tf.nn.conv2d(x, tf.constant(kernels), 1, "SAME")
            x = tf.nn.relu6(tf.nn.bias_add(x, bias(f"conv_pw_{layer}_bn/batchnorm_1/sub")))
        x = tf.reduce_mean(x, [1, 2])
        if centre is None:
            return x
        return tf.matmul(x, tf.constant(directions)) - tf.constant(centre @ directions)

    return forward


def crop(rgb, keypoints):
    """Cuts the face out of the image as this network wants it."""
    template = (TEMPLATE - MIDDLE) * (224 / CROP) + 112
    return align(rgb, keypoints, SIDE, template)


def prepare(folder, short_range, photos):
    """Returns the network, ready to be converted, and the photos' faces. Features are taken from their
    mean over these faces and their mirror images, along the directions in which they vary most."""
    weights = load(folder / "package/models")
    crops = embedder.faces(ShortRange(short_range), [*photos, folder / MORE], crop)
    features = tf.function(network(weights))
    mirrored = [np.ascontiguousarray(image[:, ::-1]) for image in crops]
    seen = np.array([features(image[None]).numpy()[0] for image in crops + mirrored], np.float64)
    centre = seen.mean(0)
    directions = np.linalg.svd(seen - centre, full_matrices=False)[2][:NUMBERS].T
    ready = network(weights, centre.astype(np.float32), directions.astype(np.float32))
    return ready, crops


def as_float(folder, short_range, photos):
    """Returns the float model: raw RGB from 0 to 255 as floats."""
    return embedder.converter_of(prepare(folder, short_range, photos)[0], SIDE).convert()


def convert(folder, short_range, photos):
    """Returns the int8 model: weights and activations quantized, calibrated on the photos."""
    forward, crops = prepare(folder, short_range, photos)
    return embedder.quantized(embedder.converter_of(forward, SIDE), embedder.variants(crops))
