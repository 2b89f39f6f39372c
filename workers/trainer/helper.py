"""`python -m workers.trainer.helper`: shards of another worker's pass, computed.

A spec on stdin, then numbers of shards; on stdout a line for each, whose segment lies in its folder. It ends with its
stdin.
"""

import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from services.contract.lines import FailedLine
from services.contract.shards import HelperSpec, ReadyLine, SegmentLine
from services.datasets.index import Archive, read_index
from workers.trainer.process import as_failure
from workers.trainer.report import Report
from workers.vision.backbone import Backbone
from workers.vision.dataset import Example
from workers.vision.pipeline import BATCH, Extracted, extract_batches
from workers.vision.segmentfile import KEY, split_keys
from workers.vision.segments import Key, joined, packed, segment_of


def main() -> int:
    report = Report.on_stdout()
    line = sys.stdin.readline()
    if not line:
        return 0
    spec = HelperSpec.model_validate_json(line)
    report.begin(spec.timing)
    try:
        help_with(spec, map(int, sys.stdin), report)
    except Exception as error:
        failure = as_failure(error, Path(spec.out))
        report.say(FailedLine(code=failure.code, message=str(failure)))
        sys.excepthook(type(error), error, error.__traceback__)
        return 1
    finally:
        report.close()
    return 0


def help_with(spec: HelperSpec, shards: Iterator[int], report: Report) -> None:
    """Compute `shards` as they are told, until there are no more."""
    with report.at_length():
        backbone = Backbone(spec.prepared, spec.timing)
        plan, examples = Path(spec.plan).read_bytes(), _examples(spec)
    report.say(ReadyLine())
    ordered: deque[tuple[int, bool]] = deque()  # of each batch its shard, and whether it is the last one of it

    def batches() -> Iterator[Sequence[Example]]:
        for shard in shards:
            keys = _keys(plan, shard, spec.size)
            chunks = [keys[at : at + count] for at in range(0, len(keys), count)]
            for place, chunk in enumerate(chunks, 1):
                ordered.append((shard, place == len(chunks)))
                yield [examples[key] for key in chunk]

    count, parts = BATCH[backbone.device.type], list[Extracted]()
    for batch in extract_batches(batches(), backbone):
        report.moves()
        parts.append(batch)
        shard, is_last = ordered.popleft()
        if is_last:
            report.say(_written(parts, shard, Path(spec.out)))
            parts = []


def _written(parts: list[Extracted], shard: int, out: Path) -> SegmentLine:
    path = out / f"{shard}.features"
    path.write_bytes(packed(joined([segment_of(part.keys, part.rows, part.said, part.seconds) for part in parts])))
    return SegmentLine(shard=shard, path=path.name, seconds=round(sum(part.seconds for part in parts), 3))


def _examples(spec: HelperSpec) -> dict[Key, Example]:
    """By content; of equal ones, one."""
    found: dict[Key, Example] = {}
    for paths in spec.archives:
        archive = Archive(paths.data)
        for image in read_index(paths.index):
            example = Example(image, archive, label=0)  # features know no labels
            found.setdefault(example.key, example)
    return found


def _keys(plan: bytes, shard: int, size: int) -> list[Key]:
    return split_keys(plan[shard * size * KEY : (shard + 1) * size * KEY])


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)
