"""Liger equals torch, on a GPU and through Triton's interpreter; without a GPU torch is chosen."""

import os
import re
import subprocess
import sys

import pytest
import torch

from models import kernels

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU: Liger's Triton kernels")
PARITY_TESTS = 13


def parity(**env):
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/models/kernel_parity.py"]
    done = subprocess.run(command, env=os.environ | env, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-6000:]
    return int(re.search(r"(\d+) passed", done.stdout)[1])


def test_the_cpu_runs_torchs_kernels(monkeypatch):
    monkeypatch.delenv("OPENMIDM_KERNELS", raising=False)
    monkeypatch.setenv("OPENMIDM_DEVICE", "cpu")
    assert kernels.kernels() == "torch"


@pytest.mark.slow
def test_every_liger_kernel_and_the_whole_model_equal_torch_through_tritons_interpreter():
    assert parity(TRITON_INTERPRET="1", OPENMIDM_DEVICE="cpu") == PARITY_TESTS


@pytest.mark.gpu
@needs_gpu
def test_every_liger_kernel_and_the_whole_model_equal_torch_on_a_gpu():
    assert parity(TRITON_INTERPRET="0", OPENMIDM_DEVICE="cuda") == PARITY_TESTS
