"""What is asked of the supply chain: an audit that never passes for one that was not made, and a list of parts."""

import json

from infra.audit import verdict

FINE = {"name": "redis", "version": "7.0", "vulns": []}
BROKEN = {"name": "pillow", "version": "1.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1"]}]}
UNKNOWN = {"name": "torch", "version": "2.14", "skip_reason": "Dependency not found on PyPI"}


def report(*dependencies: object) -> str:
    return json.dumps({"dependencies": dependencies, "fixes": []})


def test_what_is_known_against_a_dependency_fails_and_names_the_mend() -> None:
    status, said = verdict(report(FINE, BROKEN))
    assert status == 1
    assert "pillow 1.0: PYSEC-1, mended in 1.1" in said


def test_what_nobody_knows_anything_against_passes() -> None:
    assert verdict(report(FINE, FINE)) == (0, "2 dependencies audited, 0 findings.")
    assert verdict(report(FINE, UNKNOWN)) == (0, "1 dependencies audited (1 could not be asked for), 0 findings.")


def test_an_audit_that_was_not_made_says_so() -> None:
    for told in ("", "no answer", report(UNKNOWN)):
        status, said = verdict(told)
        assert (status, said.startswith("NOT AUDITED")) == (0, True)
        assert verdict(told, required=True) == (1, said)
