"""Which engine computes a precision's features: the fastest of those that agree with the plain network; and the
fingerprint of what it gives.

Agreement is judged on eight photos' features less their mean: with it, those of different photos have a cosine of
0.997, and an engine that computed nonsense would pass. The photos are drawn, with large forms strong and small ones
faint as in real ones (a spectrum of 1/f): grey, turned, progressive, and large enough for a DCT scale among them.
"""

import hashlib
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import nn

from services.contract.preflight import Arithmetic, EngineName
from services.contract.recipe import Precision
from services.contract.weights import RandomWeights
from workers.vision import backbone, gpu_decoder
from workers.vision.decoding import decoding_for
from workers.vision.engines import DTYPES, Extractor, candidates_on
from workers.vision.images import Decoding, normalised, photographs, read

WEIGHTS = RandomWeights(0)  # it is device, engine and decoder that are judged
MOST_APART = 1e-4  # of fp32: the largest difference, over the largest feature
LEAST_COSINE = 0.995  # of bf16 and fp16, centred
LEAST_SCALED = 0.98  # of pixels at a DCT scale, centred
TRIES = 4  # batches by which each engine's pace is taken, in turns
WORTH = 1.1  # times as fast an engine must be to be taken before one that is preferred: equal machines should agree


@dataclass(frozen=True)
class Candidate:
    """An engine that agrees: how well, and the fingerprint of what it gives."""

    extract: Extractor
    cosine: float
    fingerprint: str


def arithmetic(device: torch.device) -> dict[Precision, Arithmetic]:
    """Of the precisions that this device can compute."""
    found = {}
    for precision in DTYPES:
        if (best := _best(device, precision)) is not None:
            found[precision] = best
    return found


def fingerprint(device: torch.device, precision: Precision, engine: EngineName) -> str:
    """Of decoder and engine together: equal ones compute the same, to the bit."""
    extract = Extractor(network(), device, precision, engine)
    decoding = decoding_for(precision, device)
    return _hash(decoding, extract(photos(decoding)))


@cache
def network() -> nn.Module:
    return backbone.load(WEIGHTS)


@cache
def photos(decoding: Decoding) -> torch.Tensor:
    """(8, 3, 224, 224) uint8."""
    if decoding == "gpu":
        return gpu_decoder.photos(gpu_decoder.DEVICE)
    return torch.stack([read(content, decoding)[0] for content in photographs()])


@cache
def reference(decoding: Decoding = "exact") -> torch.Tensor:
    """(8, 512): what the plain network gives for these pixels in float64."""
    with torch.inference_mode():
        rows: torch.Tensor = backbone.load(WEIGHTS).double()(normalised(photos(decoding)).double())
    return rows


def centred_cosine(rows: torch.Tensor, expected: torch.Tensor) -> float:
    """The lowest of the rows', once the mean of what is expected is off both."""
    mean = expected.mean(0)
    return F.cosine_similarity(rows.double() - mean, expected.double() - mean).min().item()


def agrees(rows: torch.Tensor, precision: Precision, decoding: Decoding) -> bool:
    """Of features of the photos, decoded so."""
    expected = _expected(decoding)
    if precision == "fp32":
        return bool((rows.double() - expected).abs().max() <= MOST_APART * expected.abs().max())
    return centred_cosine(rows, expected) >= LEAST_COSINE and centred_cosine(expected, reference()) >= LEAST_SCALED


def _expected(decoding: Decoding) -> torch.Tensor:
    return reference("exact" if decoding == "near" else decoding)


def _best(device: torch.device, precision: Precision) -> Arithmetic | None:
    agreeing: dict[EngineName, Candidate] = {}
    decoding = decoding_for(precision, device)
    for engine in candidates_on(device):
        with suppress(Exception):  # whatever it is, the device has no such arithmetic, or the engine none of it
            extract = Extractor(network(), device, precision, engine)
            rows = extract(photos(decoding))
            if agrees(rows, precision, decoding):
                cosine = round(centred_cosine(rows, _expected(decoding)), 6)
                agreeing[engine] = Candidate(extract, cosine, _hash(decoding, rows))
    if not agreeing:
        return None
    rates = _rates({engine: each.extract for engine, each in agreeing.items()}) if len(agreeing) > 1 else {}
    chosen = _chosen(list(agreeing), rates)
    best = agreeing[chosen]
    return Arithmetic(
        engine=chosen,
        agreement=best.cosine,
        images_per_second=rates.get(chosen),
        fingerprint=best.fingerprint,
    )


def _chosen(agreeing: list[EngineName], rates: dict[EngineName, float]) -> EngineName:
    """Of engines in the order of preference."""
    best = agreeing[0]
    for engine in agreeing[1:]:
        if rates[engine] > WORTH * rates[best]:
            best = engine
    return best


def _rates(extractors: Mapping[EngineName, Extractor]) -> dict[EngineName, float]:
    """img/s: of each the best of a few batches, once the kernels are chosen; in turns, so that a moment in which the
    machine has other work is nobody's."""
    batch, best = photos("near"), dict.fromkeys(extractors, 0.0)
    for _ in range(TRIES):
        for engine, extract in extractors.items():
            began = time.perf_counter()
            extract(batch)
            best[engine] = max(best[engine], round(len(batch) / (time.perf_counter() - began), 1))
    return best


def _hash(decoding: Decoding, rows: torch.Tensor) -> str:
    pixels = photos(decoding)
    return hashlib.sha256(pixels.numpy().tobytes() + rows.numpy().tobytes()).hexdigest()[:16]
