"""`make audit`: what is publicly known against the locked dependencies, asked of PyPI's advisories by pip-audit.

Ends with 1 where there is anything. Where the advisories cannot be asked, it says so, and ends with 0: that nobody
answers is no news of a dependency. With --required, as before a release, it ends with 1 then, too.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LOCKED = Path(__file__).parents[1] / "requirements.txt"


def main() -> int:
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(LOCKED), "--no-deps", "--disable-pip"]
    done = subprocess.run([*command, "--format", "json"], capture_output=True, text=True, check=False)
    status, said = verdict(done.stdout, required="--required" in sys.argv[1:])
    print(said, *([done.stderr] if status else []), sep="\n")
    return status


def verdict(report: str, *, required: bool = False) -> tuple[int, str]:
    """The exit status, and what to say; `report` is pip-audit's JSON, or nothing where it was not answered."""
    try:
        dependencies: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except ValueError:
        return int(required), "NOT AUDITED: the advisories could not be asked."
    asked = [dependency for dependency in dependencies if "skip_reason" not in dependency]
    if not asked:
        return int(required), f"NOT AUDITED: the index tells no advisories of any of {len(dependencies)} dependencies."
    found = [
        f"{dependency['name']} {dependency['version']}: {known['id']}"
        + (f", mended in {', '.join(known['fix_versions'])}" if known["fix_versions"] else "")
        for dependency in asked
        for known in dependency["vulns"]
    ]
    left = f" ({len(dependencies) - len(asked)} could not be asked for)" if len(asked) < len(dependencies) else ""
    return min(1, len(found)), "\n".join([*found, f"{len(asked)} dependencies audited{left}, {len(found)} findings."])


if __name__ == "__main__":
    sys.exit(main())
