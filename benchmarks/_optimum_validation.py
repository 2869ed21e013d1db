"""Knows optimum's own validation, asked in its box: a checkpoint, then folders; prints which of them it refuses."""

import json
import sys
from pathlib import Path

from optimum.exporters.onnx.convert import validate_model_outputs
from optimum.exporters.onnx.model_configs import LlamaOnnxConfig
from transformers import AutoModelForCausalLM

parent, *folders = map(Path, sys.argv[1:])
model = AutoModelForCausalLM.from_pretrained(parent, dtype="float32").eval()
config = LlamaOnnxConfig(model.config, task="text-generation", use_past=True, use_past_in_inputs=True)
refused = []
for folder in folders:
    try:
        names = list(config.outputs)
        validate_model_outputs(config, model, folder / "model.onnx", names, atol=None, use_subprocess=False)
        refused.append(False)
    except Exception as error:  # its own errors, or onnxruntime's
        print(folder.name, type(error).__name__, str(error)[:200].replace("\n", " "), file=sys.stderr)
        refused.append(True)
print(json.dumps(refused))
