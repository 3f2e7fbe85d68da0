"""MediaPipe's BlazeFace, from float16 weights to int8, without its source graph.

Quantizing it as it comes gives a model that is slower and worse than the float one: its stand-alone
ReLUs push XNNPACK off its int8 path, and the outputs of anchors that see no face reach +-4000, which
leaves one scale for the whole tensor far too coarse. So: fold the float16 constants, fuse the ReLUs,
and leave the convolutions of the heads in float.
"""

import cv2
import flatbuffers
import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.python.convert import mlir_quantize
from tensorflow.lite.python.optimize.calibrator import Calibrator

from blaze import letterbox

Op = schema.BuiltinOperator
NO_ACTIVATION, RELU = 0, 1


class Model:
    """A TensorFlow Lite file, taken apart."""

    def __init__(self, data):
        self.model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))
        self.graph = self.model.subgraphs[0]

    def code(self, op):
        code = self.model.operatorCodes[op.opcodeIndex]
        return max(code.builtinCode, code.deprecatedBuiltinCode)

    def fold_float16(self):
        """Replaces each DEQUANTIZE of a float16 constant by a float32 constant."""
        kept = []
        for op in self.graph.operators:
            tensor = self.graph.tensors[op.inputs[0]]
            half = self.model.buffers[tensor.buffer]
            if (
                self.code(op) != Op.DEQUANTIZE
                or tensor.type != schema.TensorType.FLOAT16
                or half.data is None
            ):
                kept.append(op)
                continue
            values = np.frombuffer(bytes(bytearray(half.data)), "<f2").astype("<f4")
            single = schema.BufferT()
            single.data = np.frombuffer(values.tobytes(), np.uint8)
            output = self.graph.tensors[op.outputs[0]]
            output.type = schema.TensorType.FLOAT32
            output.buffer = len(self.model.buffers)
            self.model.buffers.append(single)
        self.graph.operators = kept

    def fuse_relus(self):
        """Moves each stand-alone RELU into the operation before it, where that can hold it."""
        consumers, producer = {}, {}
        for op in self.graph.operators:
            for tensor in op.inputs:
                consumers.setdefault(tensor, []).append(op)
            for tensor in op.outputs:
                producer[tensor] = op
        fused = set()
        for op in self.graph.operators:
            if self.code(op) != Op.RELU:
                continue
            tensor = op.inputs[0]
            before = producer.get(tensor)
            if (
                before is not None
                and self.code(before) in (Op.CONV_2D, Op.DEPTHWISE_CONV_2D, Op.ADD)
                and before.builtinOptions.fusedActivationFunction == NO_ACTIVATION
                and len(consumers[tensor]) == 1
                and tensor not in self.graph.outputs
            ):
                before.builtinOptions.fusedActivationFunction = RELU
                before.outputs = [op.outputs[0]]
                fused.add(id(op))
        self.graph.operators = [op for op in self.graph.operators if id(op) not in fused]

    def heads(self):
        """Names of the outputs of the last convolution on the way to each output."""
        producer = {op.outputs[0]: op for op in self.graph.operators}
        names, todo = [], list(self.graph.outputs)
        while todo:
            op = producer[todo.pop()]
            if self.code(op) == Op.CONV_2D:
                names.append(self.graph.tensors[op.outputs[0]].name.decode())
            else:
                todo += [tensor for tensor in op.inputs if tensor in producer]
        return names

    def pack(self):
        """The file again, without what nothing refers to any more."""
        model, graph = self.model, self.graph

        used = set(graph.inputs) | set(graph.outputs)
        for op in graph.operators:
            used |= {tensor for tensor in op.inputs if tensor >= 0} | set(op.outputs)
        number = {old: new for new, old in enumerate(sorted(used))}
        number[-1] = -1  # an optional input that is absent
        graph.tensors = [graph.tensors[old] for old in sorted(used)]
        graph.inputs = [number[tensor] for tensor in graph.inputs]
        graph.outputs = [number[tensor] for tensor in graph.outputs]
        for op in graph.operators:
            op.inputs = [number[tensor] for tensor in op.inputs]
            op.outputs = [number[tensor] for tensor in op.outputs]

        number, buffers = {0: 0}, [model.buffers[0]]
        for tensor in graph.tensors:
            if tensor.buffer not in number:
                number[tensor.buffer] = len(buffers)
                buffers.append(model.buffers[tensor.buffer])
            tensor.buffer = number[tensor.buffer]
        model.buffers = buffers

        codes = sorted({op.opcodeIndex for op in graph.operators})
        model.operatorCodes = [model.operatorCodes[code] for code in codes]
        for op in graph.operators:
            op.opcodeIndex = codes.index(op.opcodeIndex)

        model.metadata = model.metadataBuffer = model.signatureDefs = None
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def squares(photos, size, per_photo=20):
    """Random square parts of the photos, letterboxed, half of them mirrored, in varied light."""
    random = np.random.RandomState(0)
    parts = []
    for photo in photos:
        rgb = np.ascontiguousarray(cv2.imread(str(photo))[:, :, ::-1])
        height, width = rgb.shape[:2]
        for _ in range(per_photo):
            side = int(min(height, width) * random.uniform(0.3, 1))
            y = random.randint(0, height - side + 1)
            x = random.randint(0, width - side + 1)
            parts.append(np.ascontiguousarray(rgb[y : y + side, x : x + side]))
    for part in parts:
        square = letterbox(part, size)[0]
        if random.rand() < 0.5:
            square = np.ascontiguousarray(square[:, ::-1])
        lit = np.clip(square * random.uniform(0.5, 1.2), 0, 255).astype(np.float32)
        yield [(lit * (2 / 255.0) - 1)[None].astype(np.float32)]


def as_float(data):
    """Returns the float model that is quantized."""
    model = Model(data)
    model.fold_float16()
    # In between, the tensors are numbered anew: their order decides that of the finished file's.
    model = Model(model.pack())
    model.fuse_relus()
    return model.pack()


def convert(data, size, photos):
    """Returns the int8 model, with float inputs, heads and outputs, calibrated on the photos."""
    folded = as_float(data)
    heads = set(Model(folded).heads())
    calibrated = Calibrator(folded).calibrate(lambda: squares(photos, size))
    return mlir_quantize(
        calibrated,
        disable_per_channel=False,
        fully_quantize=False,
        input_data_type=tf.float32,
        output_data_type=tf.float32,
        denylisted_nodes=heads,
    )
