"""`python -m workers.trainer < spec.json`: one attempt at a job, from images to an exported model.

Only what must be done before numpy and torch come; they are imported with `process`.
"""

import argparse
import os
import select
import sys

from workers.trainer.stop import StopAsked


def main() -> int:
    options = _options()
    for name in ("OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):  # see head.HeadStack
        os.putenv(name, "1")
    if options.lean:  # until there is a job, or nobody to bring one; torch's memory is taken only then
        select.select([0], [], [])
    stop_asked = StopAsked()  # before torch's seconds of import, so that a stop in them is not lost
    from workers.trainer import process

    return process.carry_out(stop_asked, tethered=options.tethered, ahead=options.ahead, memory=options.memory)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tethered", action="store_true", help="end when stdin does")
    parser.add_argument("--ahead", help="what to prepare before the spec comes, as JSON")
    parser.add_argument("--memory", type=int, default=sys.maxsize, help="bytes that it may take for that")
    parser.add_argument("--lean", action="store_true", help="take no memory before the spec comes")
    return parser.parse_args()


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # all is written; torch would take a second to tear itself down
