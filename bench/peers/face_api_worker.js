// face-api on tfjs's WebAssembly, one thread. `tiny`: its tiny detector at 224 pixels with tiny
// landmarks, its fastest set-up; `ssd`: its defaults.
// A path a line comes in, a line of JSON goes out; reading the file is not timed.
'use strict';
const fs = require('fs');
const path = require('path');
const readline = require('readline');

console.log = console.info = console.error; // what a library prints is no answer

const wasm = require('@tensorflow/tfjs-backend-wasm');
const tf = require('@tensorflow/tfjs');
const faceapi = require('@vladmandic/face-api/dist/face-api.node-wasm.js');

const folder = (name) => path.dirname(require.resolve(`${name}/package.json`));
const version = (name) => require(`${name}/package.json`).version;
const tiny = process.argv[2] === 'tiny';
const options = tiny
  ? new faceapi.TinyFaceDetectorOptions({ inputSize: 224 })
  : new faceapi.SsdMobilenetv1Options();

async function load() {
  wasm.setWasmPaths(folder('@tensorflow/tfjs-backend-wasm') + '/dist/');
  wasm.setThreadsCount(1);
  await tf.setBackend('wasm');
  await tf.ready();
  const { tinyFaceDetector, faceLandmark68TinyNet, ssdMobilenetv1, faceLandmark68Net, faceRecognitionNet } = faceapi.nets;
  const nets = tiny ? [tinyFaceDetector, faceLandmark68TinyNet] : [ssdMobilenetv1, faceLandmark68Net];
  for (const net of [...nets, faceRecognitionNet]) {
    await net.loadFromDisk(folder('@vladmandic/face-api') + '/model');
  }
}

// A binary PPM with three lines of header.
function read(file) {
  const bytes = fs.readFileSync(file);
  let at = 0;
  const line = () => {
    const start = at;
    at = bytes.indexOf('\n', start) + 1;
    return bytes.toString('latin1', start, at - 1);
  };
  const [magic, size, depth] = [line(), line(), line()];
  if (magic !== 'P6' || depth !== '255') throw new Error(`not a binary PPM: ${file}`);
  const [width, height] = size.split(' ').map(Number);
  return tf.tensor3d(new Int32Array(bytes.subarray(at)), [height, width, 3], 'int32');
}

// The face nearest to the middle, a larger one counting as nearer by a quarter of its width.
function central(faces, [height, width]) {
  const off = ({ detection: { box } }) =>
    Math.hypot(box.x + (box.width - width) / 2, box.y + (box.height - height) / 2) - 0.25 * box.width;
  return faces.sort((one, other) => off(one) - off(other))[0];
}

async function look(picture) {
  const start = process.cpuUsage();
  const faces = await faceapi.detectAllFaces(picture, options).withFaceLandmarks(tiny).withFaceDescriptors();
  const { user, system } = process.cpuUsage(start); // microseconds
  const face = central(faces, picture.shape);
  if (!face) return { box: null };
  const { left, top, right, bottom } = face.detection.box;
  return { box: [left, top, right, bottom], ms: (user + system) / 1e3, embedding: Array.from(face.descriptor) };
}

async function main() {
  await load();
  const answer = (what) => process.stdout.write(JSON.stringify(what) + '\n');
  answer({ ready: `@vladmandic/face-api ${version('@vladmandic/face-api')}, tfjs ${version('@tensorflow/tfjs')} wasm` });
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const picture = read(line);
    answer(await look(picture));
    picture.dispose();
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
