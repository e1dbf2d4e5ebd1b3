"""A PCA fitted to one split has a version of its own, made of the photos it was fitted to."""

from __future__ import annotations

import numpy as np
import pytest

from engines.base import FitRequest
from engines.core.errors import InputError
from engines.core.index.catalog import read_catalog
from engines.core.storage import open_storage
from tests.parity.chain import MADE_UP, SequentialEngine, made_up_features, write_features


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    output = tmp_path_factory.mktemp("fit") / "output"
    write_features(output, np.split(made_up_features(24), [9]), splits=True)
    return str(output)


def version(output: str, split: str | None) -> str:
    return SequentialEngine().fit_pca(FitRequest(output, "made-up", MADE_UP, 4, split)).pca


def test_versions_are_those_of_the_rows(output: str) -> None:
    assert len({version(output, split) for split in (None, "train", "test")}) == 3
    assert version(output, "Training") == version(output, "train"), "usual names of a split are one"
    catalog = read_catalog(output, "made-up")
    before = version(output, "train")
    catalog.splits["train"] = type(catalog.splits["train"])(catalog.splits["train"].images, "other photos")
    catalog.version = "changed"
    open_storage(output).write(catalog.key, catalog.dump())
    changed = SequentialEngine().fit_pca(FitRequest(output, "changed", MADE_UP, 4, "train")).pca
    assert changed != before


def test_a_split_that_is_not_there_is_a_clear_error(output: str) -> None:
    with pytest.raises(InputError, match="there is no split 'validation' to fit to, only 'test', 'train'"):
        version(output, "val")


def test_a_split_that_is_too_small_is_a_clear_error(output: str) -> None:
    with pytest.raises(InputError, match="12 images are too few for 12 components"):
        SequentialEngine().fit_pca(FitRequest(output, "made-up", MADE_UP, 12, "train"))
