"""Job records of earlier versions, read as if this one had written them. What is in Redis stays as it is.

v1  had the labels in each spec; they lie with the file now. Its results did not name the model's folder.
v2  is what is written today.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

VERSION: Final = 2


def migrated(fields: Mapping[str, str]) -> dict[str, str]:
    """What cannot even be parsed stays, for the reader to say."""
    fields = dict(fields)
    if fields.get("v") == "1":
        with suppress(ValueError, KeyError):
            fields["spec"] = _without_labels(fields["spec"])
        with suppress(ValueError, KeyError):
            fields["result"] = _with_place(fields["result"])
    return fields


def _without_labels(spec: str) -> str:
    known = json.loads(spec)
    return json.dumps({name: value for name, value in known.items() if name != "labels"})


def _with_place(result: str) -> str:
    known = json.loads(result)
    known["receipt"].pop("labels", None)
    place = next(iter(known["exports"].values())).rpartition("/")[0]
    return json.dumps({"place": place} | known)
