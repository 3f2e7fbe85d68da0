"""Measures Rollcall and its peers on the same pixels: how long a frame takes, and how often they are
right. bench/peers.sh installs what it needs and says how to call it.
"""

import argparse
import datetime
import json
import os
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy

import pictures
import scores
from worker import Worker, systems

# Frames that a system looks at before it is the next one's turn: what one leaves in the processor's
# caches is not what the next one needs, but a camera's frames come one after the other.
TURN = 5
# Times that each looks at the first turn's frames before the clock counts.
WARM_UP = 4


def main():
    options = arguments()
    pairs = [(one, other, same == "1") for one, other, same in lines(options.pairs)]
    identities = [(gallery, probe) for _, gallery, probe in lines(options.identities)]
    pairs, identities = thin(pairs, identities, options.photos)
    names = sorted({name for pair in pairs for name in pair[:2]} | {n for two in identities for n in two})
    everybody = systems(options.work, options.rollcall)
    results = {system.name: {"name": system.name, "setup": system.setup} for system in everybody}
    if options.frames:
        frames = make_frames(everybody[1], names, options)
        time_frames([system for system in everybody if system.timed], frames, options, results)
    photos = make_photos(names, options)
    judged = [system for system in everybody if system.judged]
    # The slow ones first, so that the cores are busy to the end.
    with ThreadPoolExecutor(options.jobs) as pool:
        jobs = [
            pool.submit(judge, system, photos, pairs, identities, options, results[system.name])
            for system in sorted(judged, key=lambda system: -results[system.name].get("ms", 0))
        ]
        for job in jobs:
            job.result()
    report = {
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "photos": len(names),
        "pairs": len(pairs),
        "identities": len(identities),
        "systems": list(results.values()),
    }
    print(json.dumps(report))
    if options.table:
        print(f"\n{table(report['systems'])}")


def arguments():
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rollcall", required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--pairs", type=Path, required=True)
    parser.add_argument("--identities", type=Path)
    parser.add_argument("--photos", type=int)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--core", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--table", action="store_true")
    return parser.parse_args()


def lines(path):
    if path is None:
        return []
    found = [line.split("\t") for line in path.read_text().splitlines()]
    for number, fields in enumerate(found, 1):
        if len(fields) != 3:
            raise SystemExit(f"peers: {path}, line {number}: expected 3 fields separated by tabs")
    return found


def thin(pairs, identities, photos):
    """As many lines, spread evenly, as show at most about so many photos."""
    step = -(-2 * (len(pairs) + len(identities)) // photos) if photos else 1
    return pairs[::step], identities[::step]


def tell(what):
    print(f"peers: {what}", file=sys.stderr, flush=True)


def make_photos(names, options):
    """The photos' pixels in files, by name."""
    photos = {name: options.work / "photos" / f"{name}.ppm" for name in names}
    for name, path in photos.items():
        pictures.save(pictures.open_photo(options.images / name), path)
    return photos


def make_frames(finder, names, options):
    """Frames with one face each, of different people as far as there are enough."""
    frames = []
    whole = options.work / "photo.ppm"
    first_of_each = {scores.person(name): name for name in reversed(names)}
    with Worker(finder, options.work) as worker:
        for name in sorted(first_of_each.values()):
            if len(frames) == options.frames:
                break
            photo = pictures.open_photo(options.images / name)
            pictures.save(photo, whole)
            box = worker.ask(whole)["box"]
            if box:
                path = options.work / f"frames/{len(frames):03}.ppm"
                scene, frame = pictures.frame(photo, box, len(frames))
                pictures.save(scene, path.with_suffix(".empty.ppm"))
                pictures.save(frame, path)
                frames.append(path)
    return frames


def time_frames(timed, frames, options, results):
    """Everybody looks at all frames, in turns, on one core. Only frames count in which all saw a face."""
    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(system, options.work, options.core)) for system in timed]
        for worker in workers:
            for frame in frames[:TURN] * WARM_UP:
                worker.ask(frame)
        seen = {worker.system.name: [] for worker in workers}
        for start in range(0, len(frames), TURN):
            for worker in workers:
                seen[worker.system.name] += [worker.ask(frame) for frame in frames[start : start + TURN]]
            tell(f"timed {min(start + TURN, len(frames))} of {len(frames)} frames")
    rounds = [answers for answers in zip(*seen.values()) if all(answer["box"] for answer in answers)]
    if len(rounds) < 2:
        raise SystemExit("peers: there are no two frames in which everybody sees a face")
    for system, answers, own in zip(timed, seen.values(), zip(*rounds)):
        result = results[system.name]
        result["frames"] = len(own)
        result["missed"] = sum(answer["box"] is None for answer in answers)
        for key in [key for key in own[0] if key.endswith("ms")]:
            times = [answer[key] for answer in own]
            tenths = statistics.quantiles(times, n=10)
            result[key] = round(statistics.median(times), 2)
            result[f"{key}_10_90"] = [round(tenths[0], 2), round(tenths[-1], 2)]
    compare(results, timed)


def compare(results, timed):
    """How many times our time the others take: a frame at a door, and a picture by itself."""
    door, picture = (results[system.name] for system in timed[:2])
    for system in timed[2:]:
        result = results[system.name]
        if system.embeds:
            result["ratio_door"] = round(result["ms"] / door["ms"], 2)
        key = "ms" if system.embeds else "located_ms"
        result["ratio"] = round(result[key] / picture[key], 2)


def judge(system, photos, pairs, identities, options, result):
    """Shows a system all photos and counts how often it is right."""
    faces, found = {}, 0
    with Worker(system, options.work) as worker:
        result["version"] = worker.version
        for number, (name, path) in enumerate(photos.items(), 1):
            answer = worker.ask(path)
            embedding = answer.get("embedding")
            faces[name] = embedding and numpy.array(embedding)
            found += answer["box"] is not None
            if number % 500 == 0 or number == len(photos):
                tell(f"{system.name}: {number} of {len(photos)} photos")
    result["found"] = found
    if system.embeds:
        put_share(result, "accuracy", scores.accuracy(pairs, faces), len(pairs))
        if identities:
            put_share(result, "rank1", scores.rank1(identities, faces), len(identities))


def put_share(result, name, share, trials):
    result[name] = round(share, 5)
    result[f"{name}_95"] = scores.bounds(share, trials)


def processor():
    with open("/proc/cpuinfo") as cpus:
        names = [line.partition(":")[2].strip() for line in cpus if line.startswith("model name")]
    return names[0] if names else "unknown"


def table(rows):
    def cell(row, key, form):
        return form.format(row[key]) if key in row else ""

    head = "| | set-up | found and aligned, ms | all, ms | times our door's | times ours | pairs | rank-1 | faces found |"
    text = [head, "|---|---|---|---|---|---|---|---|---|"]
    for row in rows:
        cells = [row["name"], row["setup"]]
        cells += [cell(row, key, "{:.1f}") for key in ("located_ms", "ms", "ratio_door", "ratio")]
        cells += [cell(row, key, "{:.2%}") for key in ("accuracy", "rank1")]
        text.append("| " + " | ".join([*cells, cell(row, "found", "{}")]) + " |")
    return "\n".join(text)


if __name__ == "__main__":
    main()
