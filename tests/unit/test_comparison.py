"""Two outputs are identical, equal within tolerance, or different; and which it is can be trusted."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from engines.core import tables
from engines.core.compare.outputs import Comparison, compare
from engines.core.compare.pca import compare_pca
from engines.core.errors import ContractError, InputError
from engines.core.networks.mobilenet_v2 import MOBILENET_V2
from engines.core.output import publish
from engines.core.reduce.kept import read_pca, write_pca
from engines.core.reduce.pca import load_pca
from flows.cli import app
from tests.parity.chain import MADE_UP, Run, SequentialEngine, made_up_features, run_fit
from tests.records import edit_record, record_with
from tests.s3 import Aws

COMPONENTS = 64
CUTS = [30, 31, 90]


def published(run: Run, weights: str = "a" * 64) -> Path:
    """The output of `run`, with a record."""
    record = {
        "source": "/nowhere",
        "catalog": "catalog/made-up.json",
        "results": run.projected.results,
        "parts": run.projected.parts,
        "pca": f"pca/{run.fitted.pca}",
        "model": {
            "fingerprint": MADE_UP,
            "architecture": MOBILENET_V2.architecture,
            "weights_sha256": weights,
            "preprocessing": "as ever",
        },
    }
    publish(str(run.output), record_with(record))
    return run.output


def fitted(features: np.ndarray, output: Path, components: float = COMPONENTS, weights: str = "a" * 64) -> Path:
    return published(run_fit(SequentialEngine(), np.split(features, CUTS), output, components), weights)


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    return made_up_features(130)


@pytest.fixture(scope="module")
def a(features: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fitted(features, tmp_path_factory.mktemp("a") / "output")


@pytest.fixture
def b(a: Path, tmp_path: Path) -> Path:
    """A copy of `a`, to change."""
    return Path(shutil.copytree(a, tmp_path / "copy"))


def change(output: Path, folder: str, edit: Callable[[pa.Table], pa.Table], part: int = 0) -> None:
    """Rewrite one file of results or features."""
    path = sorted(output.glob(f"{folder}/**/*.parquet"))[part]
    table = pq.read_table(path)
    path.write_bytes(tables.to_parquet(edit(table), tables.metadata_of(table.schema) if folder == "features" else None))


def change_model(output: Path, edit: Callable[[np.ndarray], None], **fields: str) -> None:
    """The PCA that code with an error would have published, with its spectrum."""
    folder = str(next(output.glob("pca/*")).relative_to(output))
    pca = dataclasses.replace(read_pca(str(output), folder), **fields)
    edit(pca.components)
    write_pca(str(output), folder, pca)


def with_values(table: pa.Table, edit: Callable[[np.ndarray], None]) -> pa.Table:
    values = tables.to_matrix(table["pcaFeatures"]).copy()
    edit(values)
    return table.set_column(2, table.schema.field(2), tables.to_lists(values, tables.RESULTS.field(2).type))


def reasons_of(comparison: Comparison) -> str:
    assert comparison.verdict == "different"
    return "\n".join(comparison.reasons)


def test_a_copy_is_identical(a: Path, b: Path) -> None:
    comparison = compare(str(a), str(b))
    assert comparison.verdict == "identical"
    assert comparison.reasons == []
    assert comparison.features.images == comparison.results.images == 130
    assert comparison.correlations == pytest.approx([1.0] * COMPONENTS)
    assert comparison.largest_deviation == 0.0


def test_an_output_on_s3_and_its_copy_here_are_identical(a: Path, aws: Aws) -> None:
    bucket = aws.new_bucket()
    files = {str(path.relative_to(a)): path.read_bytes() for path in a.rglob("*") if path.is_file()}
    aws.put(bucket, {f"some/prefix/{key}": content for key, content in files.items()})
    assert compare(f"s3://{bucket}/some/prefix", str(a)).verdict == "identical"
    with pytest.raises(InputError, match="has no published results"):
        compare(str(a), f"s3://{bucket}/another")


def test_a_copy_of_the_source_in_another_place_is_the_same(a: Path, b: Path) -> None:
    for folder in ("features", "results"):
        for part in range(len(CUTS) + 1):
            change(
                b,
                folder,
                lambda table: table.set_column(
                    0,
                    table.schema.field(0),
                    pa.array([path.replace("/nowhere", "s3://bucket/copy") for path in table["path"].to_pylist()]),
                ),
                part,
            )
    edit_record(b, source="s3://bucket/copy")
    assert compare(str(a), str(b)).verdict == "identical"


def test_other_shards_of_the_same_images_are_identical(features: np.ndarray, a: Path, tmp_path: Path) -> None:
    # Shards end elsewhere, so the names of images differ from those of `a`: move them into one folder on both sides.
    for output in (copy := Path(shutil.copytree(a, tmp_path / "a"))), tmp_path / "b":
        if output != copy:
            published(run_fit(SequentialEngine(), np.split(features, [100, 120]), output, COMPONENTS))
        number = 0
        for folder in ("features", "results"):
            number = 0
            for path in sorted(output.glob(f"{folder}/**/*.parquet")):
                table = pq.read_table(path)
                names = pa.array([f"/nowhere/{number + row:05d}.jpg" for row in range(len(table))])
                metadata = tables.metadata_of(table.schema) if folder == "features" else None
                path.write_bytes(tables.to_parquet(table.set_column(0, table.schema.field(0), names), metadata))
                number += len(table)
        assert number == 130
    assert compare(str(tmp_path / "a"), str(tmp_path / "b")).verdict == "identical"


@pytest.mark.parametrize("seed", range(3))
def test_relative_noise_of_1e_6_is_equal_within_tolerance(
    seed: int, features: np.ndarray, a: Path, tmp_path: Path
) -> None:
    noise = np.random.default_rng(seed).choice([-1e-6, 1e-6], features.shape)
    other = MOBILENET_V2.grid.snap((features * (1 + noise)).astype(np.float32))
    assert (other != features).mean() > 0.1
    comparison = compare(str(a), str(fitted(other, tmp_path / "b")))
    assert comparison.verdict == "equal within tolerance", comparison.reasons
    assert comparison.reasons == []
    assert 0 < comparison.features.largest_difference < 2e-5
    assert comparison.pca is not None
    assert not comparison.pca.identical
    assert 0 < comparison.pca.largest_angle < 1e-2
    assert min(comparison.correlations) > 0.999


def test_a_swapped_label_is_different(a: Path, b: Path) -> None:
    labels = ["other", *["label"] * 29]
    change(b, "results", lambda table: table.set_column(1, table.schema.field(1), pa.array(labels)))
    comparison = compare(str(a), str(b))
    assert reasons_of(comparison) == 'results: 1 other labels (such as "0000/00000.jpg")'
    assert comparison.features.same_images


@pytest.mark.parametrize("folder", ["results", "features"])
def test_a_missing_image_is_different(folder: str, a: Path, b: Path) -> None:
    change(b, folder, lambda table: table.slice(0, 29))
    assert reasons_of(compare(str(a), str(b))) == f'{folder}: 1 images only in A (such as "0000/00029.jpg")'
    assert reasons_of(compare(str(b), str(a))) == f'{folder}: 1 images only in B (such as "0000/00029.jpg")'


def test_another_name_is_different(a: Path, b: Path) -> None:
    names = ["/nowhere/0000/00000.png", *[f"/nowhere/0000/{row:05d}.jpg" for row in range(1, 30)]]
    change(b, "results", lambda table: table.set_column(0, table.schema.field(0), pa.array(names)))
    comparison = compare(str(a), str(b))
    assert comparison.results.only_in_a == comparison.results.only_in_b == 1
    assert "images only in A" in reasons_of(comparison)


def test_other_weights_are_different(features: np.ndarray, a: Path, tmp_path: Path) -> None:
    other = fitted(made_up_features(130, seed=9), tmp_path / "b", weights="b" * 64)
    reasons = reasons_of(compare(str(a), str(other)))
    assert "other weights: aaa" in reasons
    assert "features differ by up to" in reasons


def test_other_features_under_the_same_name_are_different(a: Path, tmp_path: Path) -> None:
    reasons = reasons_of(compare(str(a), str(fitted(made_up_features(130, seed=9), tmp_path / "b"))))
    assert "features differ by up to" in reasons


@pytest.mark.parametrize("component", [0, 20, 39, 40, 63])
def test_one_wrong_sign_in_model_and_results_is_different(component: int, a: Path, b: Path) -> None:
    def turn(rows: np.ndarray) -> None:
        rows[:, component] *= -1

    change_model(b, lambda components: turn(components.T))
    for part in range(len(CUTS) + 1):
        change(b, "results", lambda table: with_values(table, turn), part)
    comparison = compare(str(a), str(b))
    assert reasons_of(comparison) == f"the sign of 1 components is turned: {component + 1}"
    assert comparison.correlations[component] == pytest.approx(-1)


def test_one_wrong_sign_in_the_results_is_different(a: Path, b: Path) -> None:
    def turn(values: np.ndarray) -> None:
        values[:, 5] *= -1

    change(b, "results", lambda table: with_values(table, turn), 2)
    assert "results of component 6 differ by" in reasons_of(compare(str(a), str(b)))


def test_one_wrong_sign_after_noise_is_different(features: np.ndarray, a: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).choice([-1e-6, 1e-6], features.shape)
    b = fitted(MOBILENET_V2.grid.snap((features * (1 + noise)).astype(np.float32)), tmp_path / "b")

    def turn(rows: np.ndarray) -> None:
        rows[:, 50] *= -1

    change_model(b, lambda components: turn(components.T))
    for part in range(len(CUTS) + 1):
        change(b, "results", lambda table: with_values(table, turn), part)
    assert reasons_of(compare(str(a), str(b))) == "the sign of 1 components is turned: 51"


def test_two_components_in_the_wrong_order_are_different(a: Path, b: Path) -> None:
    def swap(rows: np.ndarray) -> None:
        rows[:, [62, 63]] = rows[:, [63, 62]]

    change_model(b, lambda components: swap(components.T))
    for part in range(len(CUTS) + 1):
        change(b, "results", lambda table: with_values(table, swap), part)
    assert "components 63 and 64 are rotated" in reasons_of(compare(str(a), str(b)))


def test_a_value_that_is_no_number_is_different(a: Path, b: Path) -> None:
    def spoil(values: np.ndarray) -> None:
        values[3, 4] = np.nan

    change(b, "results", lambda table: with_values(table, spoil))
    for first, second in ((a, b), (b, a), (b, b)):
        comparison = compare(str(first), str(second))
        assert reasons_of(comparison) == "results: there are values that are not numbers"
        assert json.loads(json.dumps(comparison.to_dict(), allow_nan=False))["results"]["largest_difference"] is None


def test_another_number_of_components_is_different(features: np.ndarray, a: Path, tmp_path: Path) -> None:
    b = fitted(features, tmp_path / "b", components=10)
    assert reasons_of(compare(str(a), str(b))) == "64 components in A, 10 in B"


def test_an_image_that_is_there_twice_is_an_error(a: Path, b: Path) -> None:
    change(b, "results", lambda table: pa.concat_tables([table, table.slice(29)]))
    with pytest.raises(ContractError, match=r"0000/00029.jpg is there twice"):
        compare(str(a), str(b))


def test_equal_eigenvalues_may_rotate(a: Path) -> None:
    pca = load_pca(next(a.glob("pca/*/model.npz")).read_bytes())
    values = pca.eigenvalues.copy()
    values[[6, 7]] = values[6:8].mean()
    turned = pca.components.copy()
    turned[[6, 7]] = np.array([[0.8, 0.6], [-0.6, 0.8]]) @ turned[[6, 7]]
    # The rule of signs holds in every PCA.
    turned *= np.sign(turned[np.arange(len(turned)), np.abs(turned).argmax(axis=1)])[:, None]
    degenerate, rotated = (
        dataclasses.replace(pca, components=rows, eigenvalues=values) for rows in (pca.components, turned)
    )
    comparison, rotation = compare_pca(degenerate, rotated, np.zeros(COMPONENTS))
    assert comparison.reasons == []
    assert max(comparison.angles) > 0.5
    assert comparison.largest_angle == pytest.approx(0, abs=1e-7)
    assert np.allclose(rotation @ rotation.T, np.eye(COMPONENTS))
    distinct = dataclasses.replace(pca, components=turned)
    assert "components 7 and 8 are rotated" in "".join(compare_pca(pca, distinct, np.zeros(COMPONENTS))[0].reasons)


def test_nothing_published_is_an_input_error(a: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no published results"):
        compare(str(a), str(tmp_path / "nothing"))


def test_command_says_identical_and_exits_with_0(a: Path, b: Path) -> None:
    outcome = CliRunner().invoke(app, ["parity", str(a), str(b)])
    assert outcome.exit_code == 0
    assert "identical" in outcome.output


def test_command_says_why_and_exits_with_1(a: Path, b: Path) -> None:
    change(b, "results", lambda table: table.slice(0, 29))
    outcome = CliRunner().invoke(app, ["parity", str(a), str(b)])
    assert outcome.exit_code == 1
    assert "different" in outcome.output
    assert "results: 1 images only in A" in outcome.output


def test_command_prints_json(a: Path, b: Path) -> None:
    outcome = CliRunner().invoke(app, ["parity", str(a), str(b), "--json"])
    assert outcome.exit_code == 0
    assert json.loads(outcome.stdout) == asdict(compare(str(a), str(b)))


def cause_of(comparison: Comparison) -> str:
    return "\n".join(comparison.causes)


def with_canary(output: Path, digest: str, cpu: str) -> None:
    folder = output / "models" / MADE_UP
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "canary.json").write_text(json.dumps({"digest": digest * 64, "cpu": cpu}))


def with_record(output: Path, **facts: object) -> None:
    edit_record(output, model=json.loads((output / "run.json").read_text())["model"] | facts)


def nudge(output: Path, folder: str = "features") -> None:
    """Change every value a little."""

    def edit(table: pa.Table) -> pa.Table:
        values = tables.to_matrix(table.column(2)) + np.float32(2.0**-21)
        return table.set_column(2, table.schema.field(2), tables.to_lists(values, table.schema.field(2).type))

    change(output, folder, edit)


def test_identical_outputs_need_no_explanation(a: Path, b: Path) -> None:
    assert compare(str(a), str(b)).causes == []


def test_other_arithmetic_explains_a_difference(a: Path, b: Path, tmp_path: Path) -> None:
    a = Path(shutil.copytree(a, tmp_path / "a"))
    nudge(b)
    assert "not known of A and B" in cause_of(compare(str(a), str(b)))
    with_canary(a, "0", "AMD EPYC 7001")
    assert "not known of B" in cause_of(compare(str(a), str(b)))
    with_canary(b, "1", "Graviton")
    assert "canary 000000000000 of AMD EPYC 7001 in A, 111111111111 of Graviton in B" in cause_of(
        compare(str(a), str(b))
    )


def test_images_of_a_tolerant_run_explain_a_difference(a: Path, b: Path) -> None:
    path = sorted(b.glob("features/*.parquet"))[0]
    table = pq.read_table(path)
    path.write_bytes(tables.to_parquet(table, {**tables.metadata_of(table.schema), "canary": "1" * 64}))
    nudge(b)
    assert "mixed in B, 30 images are of --arithmetic tolerant" in cause_of(compare(str(a), str(b)))


def test_other_versions_explain_a_difference(a: Path, b: Path) -> None:
    nudge(b)
    with_record(b, libraries={"pillow": "13.0.0", "ai-edge-litert": "2.3.0"})
    assert "ai-edge-litert none in A, 2.3.0 in B, pillow none in A, 13.0.0 in B" in cause_of(compare(str(a), str(b)))


def test_other_photos_explain_a_difference(a: Path, b: Path) -> None:
    for folder in ("features", "results"):
        change(b, folder, lambda table: table.slice(1))
    assert cause_of(compare(str(a), str(b))).startswith("Photos: not the same images")


def test_other_rules_of_the_pca_explain_a_difference(a: Path, b: Path) -> None:
    change_model(b, lambda components: None, rules="others; 2")
    nudge(b, "results")
    assert "`others; 2` in B" in cause_of(compare(str(a), str(b)))


def test_a_difference_that_nothing_explains_is_called_that(a: Path, b: Path, tmp_path: Path) -> None:
    a = Path(shutil.copytree(a, tmp_path / "a"))
    for output in (a, b):
        with_canary(output, "0", "AMD EPYC 7001")
    nudge(b, "results")
    assert cause_of(compare(str(a), str(b))).startswith("Nothing that is known: equal features")
