"""Reads the weights of dlib's face recognition ResNet out of its own serialization format."""

from pathlib import Path

import numpy as np

# Side, input and output channels of each convolution, from the image to the embedding.
CONVOLUTIONS = (
    [(7, 3, 32)]
    + [(3, 32, 32)] * 6
    + [(3, 32, 64)]
    + [(3, 64, 64)] * 7
    + [(3, 64, 128)]
    + [(3, 128, 128)] * 5
    + [(3, 128, 256)]
    + [(3, 256, 256)] * 7
)
INPUT = b"input_rgb_image_sized"
LAYERS = (b"con_4", b"con_5", b"affine_", b"fc_2")


class Reader:
    """A cursor over dlib's binary format."""

    def __init__(self, data, position=0):
        self.data = data
        self.position = position

    def take(self, count):
        self.position += count
        return self.data[self.position - count : self.position]

    def integer(self):
        """A byte with the length (low nibble) and the sign (high bit), then the magnitude."""
        control = self.take(1)[0]
        value = int.from_bytes(self.take(control & 0x0F), "little")
        return -value if control & 0x80 else value

    def real(self):
        mantissa = self.integer()
        return float(mantissa) * 2.0 ** self.integer()

    def string(self):
        return self.take(self.integer())

    def tensor(self):
        version = self.integer()
        assert version == 2, f"tensor format {version}"
        shape = [self.integer() for _ in range(4)]
        return np.frombuffer(self.take(4 * int(np.prod(shape))), "<f4").reshape(shape)


def load(path):
    """Returns the input's mean RGB, (weights [h, w, in, out], bias [out]) of each convolution with
    the affine layer after it folded in, and the fully connected layer [256, 128]."""
    data = Path(path).read_bytes()

    reader = Reader(data, data.index(INPUT) + len(INPUT))
    mean = [reader.real() for _ in range(3)]
    assert (reader.integer(), reader.integer()) == (150, 150)

    # Each layer announces itself by name; the file holds them from the input on.
    found = []
    for name in LAYERS:
        tag, position = bytes([1, len(name)]) + name, -1
        while (position := data.find(tag, position + 1)) >= 0:
            found.append((position, name))

    convolutions, weights, bias, dense = [], None, None, None
    for position, name in sorted(found):
        reader = Reader(data, position)
        assert reader.string() == name
        if name.startswith(b"con"):
            values = reader.tensor().ravel()
            side, inputs, outputs = CONVOLUTIONS[len(convolutions)]
            count = side * side * inputs * outputs
            assert values.size == count + outputs, (values.size, count, outputs)
            weights = values[:count].reshape(outputs, inputs, side, side).transpose(2, 3, 1, 0)
            bias = values[count:]
        elif name == b"affine_":
            gamma, beta = np.split(reader.tensor().ravel(), 2)
            assert gamma.size == bias.size
            convolutions.append((weights * gamma, bias * gamma + beta))
        else:
            assert (reader.integer(), reader.integer()) == (128, 256)
            dense = reader.tensor().reshape(256, 128)

    assert len(convolutions) == len(CONVOLUTIONS), len(convolutions)
    return mean, convolutions, dense
