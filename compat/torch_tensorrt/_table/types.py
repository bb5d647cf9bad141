"""Rows of the types that describe inputs and devices."""

from __future__ import annotations

from . import ACCEPTED, RAISES, WORKS, Row, Section

_GPU = 'this build computes on the CPU: leave the device out or pass Device("cpu")'

SECTIONS = (
  Section("Input, Device, dtypes", "", (
    Row("Input", WORKS, "kiln.Input"),
    Row("Input(shape)", WORKS, "fixed sizes; the fields of a named tuple name its dims"),
    Row("Input(min_shape)", WORKS, "with opt_shape and max_shape: one program for the range"),
    Row("Input(opt_shape)", WORKS, "the size of the example"),
    Row("Input(max_shape)", WORKS, "see min_shape"),
    Row("Input(dtype)", WORKS, "a torch.dtype or torch_tensorrt.dtype; not given: float32"),
    Row("Input(format)", WORKS, "memory formats of PyTorch", "contiguous, channels_last, "
        "channels_last_3d"),
    Row("Input(format)", RAISES, "inputs have a memory format of PyTorch; Kiln picks its own "
        "inside", "vectorised formats"),
    Row("Input(tensor_domain)", WORKS, "the range of the example's values"),
    Row("Input(torch_tensor)", WORKS, "the example"),
    Row("Input(name)", WORKS, "the name in error messages"),
    Row("Input(is_shape_tensor)", RAISES, "pass the sizes as numbers, or make them from the shapes "
        "of other inputs", "True"),
    Row("Input(shared_dims)", WORKS, "kiln.Input's dim_names: dims of one name are one size. "
        "Dynamic dims without a name that have the same position and range are one size too: name "
        "them to tell them apart"),
    Row("Input(profiles)", WORKS, "one program for the range that holds all profiles"),
    Row("Input.from_tensor", WORKS, "shape, dtype and memory format of a tensor"),
    Row("Input.from_tensors", WORKS, "the same of a list, tuple or dict"),
    Row("Input.example_tensor", WORKS, "an example of the minimum, optimum or maximum shape"),
    Row("Input.equivalent_spec", WORKS, "whether two describe the same"),
    Row("Input.shape_mode", WORKS, "STATIC or DYNAMIC"),
    Row("Device", WORKS, "the CPU, which Torch-TensorRT has no name for", "cpu"),
    Row("Device", RAISES, _GPU, "gpu:N, cuda:N, gpu_id="),
    Row("Device", RAISES, _GPU, "dla:N, dla_core="),
    Row("Device(allow_gpu_fallback)", ACCEPTED, "it only speaks to DLA, which raises"),
    Row("DeviceType", WORKS, "names a kind of processor; CPU beside Torch-TensorRT's"),
    Row("EngineCapability", WORKS, "STANDARD; the others are refused where they are used"),
    Row("Platform", WORKS, "Platform.current_platform() and the names"),
    Row("dtype", WORKS, "_from, try_from, to and try_to between torch, numpy and these names; "
        "there is no TensorRT to convert to"),
    Row("memory_format", WORKS, "the same for memory formats"),
    Row("ENABLED_FEATURES", WORKS, "what of Torch-TensorRT's features is here"),
    Row("__version__", WORKS, "Kiln's version, not Torch-TensorRT's"),
  )),
)
