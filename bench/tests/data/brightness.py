"""Makes brightness.tflite: a model that takes bright pictures for people and dark ones for none.

It stands in for a liveness model in the tests of the slot for one.

usage: brightness.py OUTPUT    (with the packages of ../../convert/requirements.txt)
"""

import sys
from pathlib import Path

import tensorflow as tf


@tf.function(input_signature=[tf.TensorSpec([1, 32, 32, 3], tf.float32)])
def alive(picture):
    light = tf.reduce_mean(picture, axis=[1, 2, 3])
    return tf.stack([0.5 - light, light - 0.5], axis=-1) * 20.0


converter = tf.lite.TFLiteConverter.from_concrete_functions([alive.get_concrete_function()])
Path(sys.argv[1]).write_bytes(converter.convert())
