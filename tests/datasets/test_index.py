"""An index of any length: each image is found by its path, and what comes after a path is all of it."""

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.datasets.index import IndexedImage, image_at, images_from, write_index

PATHS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=90), unique=True, max_size=99)


@given(paths=PATHS, wanted=st.text(max_size=5))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_looked_for_is_found(paths: list[str], wanted: str, tmp_path: Path) -> None:
    paths, place = sorted(paths), tmp_path / "index"
    write_index((IndexedImage(path, "label", "train", 0, 0, 0, 0, "0" * 64) for path in paths), place)
    assert [image.path for image in images_from(place, "")] == paths
    for path in [*paths[::9], wanted]:
        assert [image.path for image in images_from(place, path)] == [other for other in paths if other > path]
        found = image_at(place, path)
        assert (found and found.path) == (path if path in paths else None)
