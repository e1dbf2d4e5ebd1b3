"""Damaged images end as features or as rejects: no crash, no hang, bounded memory. For longer: tests.fuzz.decode."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.fuzz.decode import mutants, run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")

IMAGES = int(os.environ.get("FRUITS_FUZZ_IMAGES", "300"))
SEED = int(os.environ.get("FRUITS_FUZZ_SEED", "0"))


def test_mutated_images_are_features_or_rejects(tmp_path: Path) -> None:
    outcomes, broken = run(IMAGES, SEED, keep=tmp_path)
    print(f"seed {SEED}: {outcomes}")
    assert not broken
    assert outcomes.total() == IMAGES
    assert outcomes["features"] > IMAGES / 10, "mutations that leave nothing to decode try nothing"
    assert outcomes.total() - outcomes["features"] > IMAGES / 10, "mutations that damage nothing try nothing"


def test_the_same_seed_tries_the_same_images() -> None:
    assert Counter(mutants(60, 1)) == Counter(mutants(60, 1))
    assert Counter(mutants(60, 1)) != Counter(mutants(60, 2))
