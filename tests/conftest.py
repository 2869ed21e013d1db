"""Shared by all tests: threads, silence and no tracking, set before anything heavy is imported."""

import os
import sys

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.update(HF_HUB_OFFLINE="1", MPLBACKEND="Agg", OPENMIDM_TRACKING="off", TOKENIZERS_PARALLELISM="false")


@pytest.fixture(autouse=True)
def each_test_chooses_its_precision():
    """accelerate keeps one for a process, which is what a stage is."""
    yield
    if "accelerate" in sys.modules:
        sys.modules["accelerate"].state.AcceleratorState._reset_state(reset_partial_state=True)
