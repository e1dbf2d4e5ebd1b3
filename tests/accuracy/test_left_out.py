"""What the features are good for: real photos that were not in the run are named rightly by their nearest neighbour.

Takes a minute or two: `make test-accuracy`. Its small form is in tests/unit/test_similar.py.
"""

from __future__ import annotations

from pathlib import Path

from engines.core.networks.prepare import prepare_model
from flows.checks import cache_folder
from tests.left_out import name_left_out


def test_97_of_100_photos_are_named_rightly(real_photos: Path, real_weights: str, tmp_path: Path) -> None:
    model = prepare_model(real_weights, "litert", cache_folder())
    named = name_left_out(real_photos, tmp_path, model, left_out=500)
    print(f"{named.accuracy:.1%} of {named.photos} right; wrong: {named.wrong}")
    assert named.photos == 500
    assert named.accuracy >= 0.97
