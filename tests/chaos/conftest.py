"""The suites that engines inherit say what differed, too."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.chaos.suite", "tests.chaos.runs")
