"""Knows how fast a training goes: tokens per second, the share of the device's matmul rate, the time that is left."""

import time

from models import kernels
from models.shapes import Shape


class Meter:
    """Speed of the whole accumulated step: tokens/s and the share of the device's matmul rate (MFU), with an ETA."""

    def __init__(self, steps: int, context: int, shape: Shape, processes: int) -> None:
        self.steps, self.flops = steps, shape.flops_per_token(context)
        self.peak = kernels.peak_flops() * processes
        self.at: tuple[float, int, int] | None = None

    def read(self, step: int, tokens: int) -> dict[str, float]:
        now, before = time.perf_counter(), self.at
        self.at = (now, tokens, step)
        if before is None or tokens < before[1]:  # the first time, or taken back to an older state
            return {}
        seconds = max(1e-9, now - before[0])
        speed, per_step = (tokens - before[1]) / seconds, seconds / max(1, step - before[2])
        figures = {"perf/tokens_per_s": round(speed), "perf/mfu": round(speed * self.flops / self.peak, 4)}
        figures["perf/memory_gib"] = kernels.peak_memory()
        left = (self.steps - step - 1) * per_step
        return figures | {"perf/step_seconds": round(per_step, 4), "perf/eta_seconds": round(left)}
