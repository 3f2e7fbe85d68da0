"""How often a system is right, judged as bench/examples/evaluate does it.

`faces` has an embedding for each photo's name, or None: a face that was not found is nobody's.
"""

import numpy

FOLDS = 10


def accuracy(pairs, faces):
    """The share of pairs judged rightly, each fold (line modulo ten) with the threshold that is best
    on the other nine."""
    distances = numpy.array([distance(faces[one], faces[other]) for one, other, _ in pairs])
    same = numpy.array([same for *_, same in pairs])
    fold = numpy.arange(len(pairs)) % FOLDS
    shares = []
    for tested in range(FOLDS):
        others = fold != tested
        threshold = best_threshold(distances[others], same[others])
        shares.append(numpy.mean((distances < threshold)[~others] == same[~others]))
    return float(numpy.mean(shares))


def distance(one, other):
    return numpy.inf if one is None or other is None else numpy.linalg.norm(one - other)


def best_threshold(distances, same):
    """The middle of the gap between two distances that separates the pairs best."""
    order = numpy.argsort(distances)
    distances = numpy.concatenate([[0.0], distances[order], [numpy.inf]])
    right = numpy.concatenate([[0], numpy.cumsum(numpy.where(same[order], 1, -1))])
    best = int(numpy.argmax(right))
    return (distances[best] + distances[best + 1]) / 2


def rank1(identities, faces):
    """The share of probes whose nearest gallery photo is of the same person."""
    enrolled = [(gallery, faces[gallery]) for gallery, _ in identities if faces[gallery] is not None]
    if not enrolled:
        return 0.0
    vectors = numpy.array([vector for _, vector in enrolled])
    right = 0
    for gallery, probe in identities:
        if faces[probe] is not None:
            nearest = numpy.argmin(numpy.linalg.norm(vectors - faces[probe], axis=1))
            right += person(enrolled[nearest][0]) == person(gallery)
    return right / len(identities)


def person(name):
    return name.rpartition("/")[0]


def bounds(share, trials):
    """Wilson's 95 % score interval."""
    z = 1.959964
    middle = share + z * z / (2 * trials)
    reach = z * (share * (1 - share) / trials + z * z / (4 * trials * trials)) ** 0.5
    return [round((middle + side) / (1 + z * z / trials), 5) for side in (-reach, reach)]
