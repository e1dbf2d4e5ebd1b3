"""Outputs that were published before stay valid: a run writes the keys and the content it always did, kind by kind.

The digests were taken from the first version that wrote each kind. Since then files carry a seal, and features digests
of their photos, which `as_before` takes out: what is left has to be the bytes of before. On S3, as there neither a path
nor the version of an object depends on the machine.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from engines.base import FeaturizeRequest, IndexRequest
from engines.core import tables
from engines.core.index.selection import Selection
from engines.core.networks.mobilenet_v2 import MOBILENET_V2
from engines.core.networks.model import library_versions, publish_model
from engines.core.networks.prepare import prepare_model
from flows.checks import cache_folder
from tests.parity.chain import SequentialEngine
from tests.s3 import Aws
from tests.unit.test_golden import VERSIONS, needs_fma

BUCKET = "published-before"
SHARD_SIZE = 8
SELECTED_CLASSES = 3
PHOTOS_PER_CLASS = 8

CATALOG = {
    # The manifest is another file since it says what was left out and why, and how photos got their labels. Its parts,
    # which hold the photos and their shards, are those of the first version.
    "out/catalog/81702d5524163818596e.json": "0ab439aa808b07601adc23ceee9292359c301170851f032010a065a94979791a",
    "out/catalog/part-ebe1d835bb4ed2a72283.parquet": "ebe1d835bb4ed2a7228365eecf996aec2296fac0c4de11047d63121849562454",
}
MODEL = {
    "out/models/8e299d15e5d586ee/network.bin": "0dbefcb0efb54e63ccb11f5720d71aa55a5268f5cbf41ad50afe9be0d9e5d92f",
    "out/models/8e299d15e5d586ee/recipe.json": "da82e45ef8fa6ed4679b33af5ebc3038278f3e84b5f516012b808a5aedd0e499",
}
REJECTS = {
    "out/rejects/8e299d15e5d586ee-7a3ff206f0a0caa9d703.parquet": (
        "249c5f86cc17f069a34830b79b52bbc098252e00c6ad8e8c5e8fa2dd0653391d"
    ),
}
FEATURES = {
    "out/features/8e299d15e5d586ee-7a3ff206f0a0caa9d703.parquet": (
        "64f7582c460a587771872caced733bfa244d0e60c114954047e015936fa51177"
    ),
    "out/features/8e299d15e5d586ee-d90812cb120b3df0e2e5.parquet": (
        "b8a7c361b3a7faf3fe747dde7a7ba07d67898baadc0e8ab29c0e41281b9d523c"
    ),
    "out/features/8e299d15e5d586ee-ebdd19ba234d79f04bf3.parquet": (
        "0d72500b641e4ad8d704ced99589d00e763ce2dfd5294eb78c97f9e2214cae4b"
    ),
}


@pytest.fixture(scope="module")
def written(aws: Aws, real_photos: Path, real_weights: str) -> dict[str, str]:
    """The sha256 of every file that index, model and featurize write, by its key."""
    if library_versions("litert") != VERSIONS:
        pytest.skip(f"the digests are those of {VERSIONS}, not of {library_versions('litert')}")
    aws.client().create_bucket(Bucket=BUCKET)
    classes = sorted(folder for folder in real_photos.iterdir() if folder.is_dir())[:SELECTED_CLASSES]
    photos = [path for folder in classes for path in sorted(folder.glob("*.jpg"))[:PHOTOS_PER_CLASS]]
    aws.put(BUCKET, {f"photos/{path.parent.name}/{path.name}": path.read_bytes() for path in photos})
    aws.put(BUCKET, {"photos/Apple Red 1/empty.jpg": b"", "photos/Apple Red 1/notes.txt": b"not a photo"})
    source, output = f"s3://{BUCKET}/photos", f"s3://{BUCKET}/out"
    engine = SequentialEngine()
    indexed = engine.index(IndexRequest(source, output, Selection(shard_size=SHARD_SIZE)))
    model = prepare_model(real_weights, "litert", cache_folder())
    publish_model(model, output)
    engine.featurize(FeaturizeRequest(source, output, indexed.catalog, model.fingerprint))
    client = aws.client()
    return {
        key: hashlib.sha256(as_before(key, client.get_object(Bucket=BUCKET, Key=key)["Body"].read())).hexdigest()
        for key in aws.keys(BUCKET)
        if key.startswith("out/")
    }


def as_before(key: str, content: bytes) -> bytes:
    """The file as it was written before there were seals."""
    if key.endswith(".json"):
        plain = json.loads(content)
        assert plain.pop("seal").startswith("<sealed ")
        return json.dumps(plain, indent=1, sort_keys="catalog/" in key).encode()
    if not key.endswith(".parquet") or "catalog/" in key:
        return content
    table = tables.from_parquet(content)
    facts = tables.metadata_of(table.schema) if "features/" in key else None
    if facts is not None:
        assert len(facts.pop("photos")) == len(facts.pop("content")) == 64
        table = table.cast(tables.feature_rows(MOBILENET_V2.features))
    return tables.to_parquet(table.replace_schema_metadata(None), facts)


@pytest.mark.parametrize("kind", [CATALOG, MODEL, REJECTS], ids=["catalog", "model", "rejects"])
def test_keys_and_content_are_those_of_before(written: dict[str, str], kind: dict[str, str]) -> None:
    assert kind.items() <= written.items()


@needs_fma
def test_features_have_the_keys_and_the_content_of_before(written: dict[str, str]) -> None:
    assert FEATURES.items() <= written.items()


def test_all_that_is_new_is_the_canary(written: dict[str, str]) -> None:
    assert set(written) - {*CATALOG, *MODEL, *REJECTS, *FEATURES} == {"out/models/8e299d15e5d586ee/canary.json"}
