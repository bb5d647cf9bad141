"""ENABLED_FEATURES: which of Torch-TensorRT's features are here."""

from __future__ import annotations

from typing import NamedTuple


class FeatureSet(NamedTuple):
  torchscript_frontend: bool = True
  torch_tensorrt_runtime: bool = True
  dynamo_frontend: bool = True
  fx_frontend: bool = True
  refit: bool = True
  qdp_plugin: bool = False
  windows_cross_compile: bool = False
  tensorrt_rtx: bool = False
  trtllm_for_nccl: bool = False
  native_trt_collectives: bool = False
  complex_decomposition: bool = False


ENABLED_FEATURES = FeatureSet()
