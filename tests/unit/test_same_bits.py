"""Moments, PCA and results are the same bytes for any kernel of the BLAS, as other CPUs choose them."""

from __future__ import annotations

import functools
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.blas_digests import CASES

_NEEDS = {
    "Prescott": {"pni"},
    "Nehalem": {"sse4_2"},
    "Haswell": {"avx2", "fma"},
    "Zen": {"avx2", "fma"},
    "SkylakeX": {"avx512f", "avx512dq", "avx512cd", "avx512bw", "avx512vl"},
    "ARMV8": {"asimd"},
    "NEOVERSEN1": {"asimd", "atomics"},
}
"""Kernels of OpenBLAS, with what of `flags` or `Features` in /proc/cpuinfo they need."""

_REPORTED_AS = {"Prescott": {"prescott", "katmai"}, "Zen": {"zen", "haswell"}}
"""OpenBLAS 0.3 calls its first kernel after the CPU before, and builds that have no Zen of their own take Haswell's."""

_REFERENCE = "ARMV8" if platform.machine() in ("aarch64", "arm64") else "Nehalem"
_OTHERS = sorted(set(_NEEDS) - {_REFERENCE})


def cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except FileNotFoundError:
        return set()
    return {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.split(":")[1].split()}


@functools.cache
def run_with(kernel: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.unit.blas_digests"],
        env={**os.environ, "OPENBLAS_CORETYPE": kernel},
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=False,
    )


def computed_by(kernel: str) -> dict[str, Any]:
    missing = _NEEDS[kernel] - cpu_flags()
    if missing:
        pytest.skip(f"this CPU cannot run OpenBLAS' {kernel}: it lacks {', '.join(sorted(missing))}")
    done = run_with(kernel)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    if not answer["architecture"]:
        pytest.skip("this numpy has another BLAS than OpenBLAS")
    expected = _REPORTED_AS.get(kernel, {kernel.lower()})
    assert {name.lower() for name in answer["architecture"]} <= expected, "another kernel was used"
    digests: dict[str, Any] = answer["digests"]
    return digests


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kernel", _OTHERS)
def test_moments_pca_and_results_are_the_same_bytes_for_any_kernel(kernel: str, case: str) -> None:
    assert computed_by(kernel)[case] == computed_by(_REFERENCE)[case]


@pytest.mark.parametrize("case", CASES)
def test_every_rounding_is_decided(case: str) -> None:
    assert computed_by(_REFERENCE)[case][-1] == "unsettled []"


def test_only_degenerate_spectra_have_components_that_a_rule_chose() -> None:
    tied = {case for case in CASES if computed_by(_REFERENCE)[case][-2] != "tied []"}
    assert tied == {
        "more components than features vary",
        "duplicated photos",
        "duplicated features",
        "eigenvalues that are there twice",
    }
