"""Knows how public benchmarks are put to a subject: lm-evaluation-harness's tasks behind the judge's own protocol."""
