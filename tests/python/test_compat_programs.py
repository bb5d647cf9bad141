"""Programs as users of Torch-TensorRT write them, with small models."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import kiln
import torch_tensorrt


class Block(nn.Module):
  def __init__(self, width: int, stride: int):
    super().__init__()
    self.conv1 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
    self.bn1 = nn.BatchNorm2d(width)
    self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
    self.bn2 = nn.BatchNorm2d(width)
    self.down = nn.Conv2d(width, width, 1, stride) if stride > 1 else nn.Identity()

  def forward(self, x):
    y = torch.relu(self.bn1(self.conv1(x)))
    return torch.relu(self.bn2(self.conv2(y)) + self.down(x))


class TinyResNet(nn.Module):
  def __init__(self):
    super().__init__()
    self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(),
                              nn.MaxPool2d(3, 2, 1))
    self.blocks = nn.Sequential(Block(8, 1), Block(8, 2))
    self.head = nn.Linear(8, 10)

  def forward(self, x):
    return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class Encoder(nn.Module):
  """Embedding, one attention layer and a head: two integer inputs, a dict as output."""

  def __init__(self):
    super().__init__()
    self.tokens = nn.Embedding(50, 16)
    self.layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)
    self.head = nn.Linear(16, 3)

  def forward(self, input_ids, attention_mask):
    hidden = self.tokens(input_ids) * attention_mask.unsqueeze(-1)
    hidden = self.layer(hidden)
    return {"hidden": hidden, "logits": self.head(hidden[:, 0])}


@pytest.fixture(autouse=True)
def inference():
  torch.manual_seed(0)
  torch._dynamo.reset()
  with torch.no_grad():
    yield


def resnet() -> nn.Module:
  return TinyResNet().eval()


def close(got, want):
  torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-5)


def test_resnet_through_torch_compile():
  """One fixed batch, then another one: compiled again or for any batch, right both times."""
  model = resnet()
  enabled_precisions = {torch.float}
  optimized_model = torch.compile(model, backend="torch_tensorrt", dynamic=False, options={
    "enabled_precisions": enabled_precisions, "workspace_size": 20 << 30, "min_block_size": 7,
    "torch_executed_ops": {}})
  for batch in (4, 2):
    x = torch.rand(batch, 3, 32, 32)
    close(optimized_model(x), model(x))


def test_empty_sets_written_as_braces_are_taken():
  """`torch_executed_ops={}` stands in many programs, and is a dict."""
  x = torch.rand(1, 3, 32, 32)
  program = torch_tensorrt.compile(resnet(), ir="dynamo", inputs=[x], torch_executed_ops={})
  assert program.report.fallbacks == []


def test_resnet_ahead_of_time_with_a_range():
  model = resnet()
  inputs = [torch_tensorrt.Input(min_shape=(1, 3, 32, 32), opt_shape=(8, 3, 32, 32),
                                 max_shape=(16, 3, 32, 32), dtype=torch.float32, name="x")]
  trt_model = torch_tensorrt.compile(model, ir="dynamo", inputs=inputs,
                                     enabled_precisions={torch.float32}, optimization_level=3)
  for batch in (1, 5, 16):
    x = torch.rand(batch, 3, 32, 32)
    close(trt_model(x), model(x))
  with pytest.raises(kiln.Error, match="K4105.*17.*1..16"):
    trt_model(torch.rand(17, 3, 32, 32))


def test_two_inputs_with_ranges_and_names():
  """A batch and a length, shared by both inputs."""
  model = Encoder().eval()
  shapes = {"min_shape": (1, 4), "opt_shape": (4, 8), "max_shape": (8, 32)}
  named = {"dtype": torch.int64, "shared_dims": {0: "batch", 1: "length"}}
  program = torch_tensorrt.compile(model, ir="dynamo", arg_inputs=[
    torch_tensorrt.Input(**shapes, **named, tensor_domain=(0, 50), name="input_ids"),
    torch_tensorrt.Input(**shapes, **named, name="attention_mask")])
  for shape in ((1, 4), (3, 9), (8, 32)):
    ids, mask = torch.randint(0, 50, shape), torch.randint(0, 2, shape)
    got, want = program(ids, mask), model(ids, mask)
    assert list(got) == list(want)
    close(got["hidden"], want["hidden"])
    close(got["logits"], want["logits"])


def test_dynamo_export_with_dims():
  """torch.export with Dim, then dynamo.compile with an Input that says the same."""
  model, x = resnet(), torch.randn(4, 3, 32, 32)
  batch = torch.export.Dim("batch", min=1, max=8)
  exp_program = torch.export.export(model, (x,), dynamic_shapes={"x": {0: batch}})
  inputs = [torch_tensorrt.Input(min_shape=(1, 3, 32, 32), opt_shape=(4, 3, 32, 32),
                                 max_shape=(8, 3, 32, 32), dtype=torch.float32)]
  trt_gm = torch_tensorrt.dynamo.compile(exp_program, inputs=inputs)
  for size in (1, 8):
    y = torch.randn(size, 3, 32, 32)
    close(trt_gm(y), model(y))


def test_mark_dynamic():
  model = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.LayerNorm(16)).eval()
  x = torch.randn(4, 8)
  torch._dynamo.mark_dynamic(x, 0, min=2, max=16)
  optimized_model = torch.compile(model, backend="torch_tensorrt")
  built = len(kiln.jit_reports())
  optimized_model(x)
  for batch in (2, 9, 16):
    y = torch.randn(batch, 8)
    close(optimized_model(y), model(y))
  assert len(kiln.jit_reports()) == built + 1


def test_save_and_load_an_exported_program(tmp_path):
  model, x = resnet(), torch.randn(2, 3, 32, 32)
  trt_gm = torch_tensorrt.compile(model, ir="dynamo", inputs=[x])
  torch_tensorrt.save(trt_gm, str(tmp_path / "trt.ep"), inputs=[x])
  close(torch.export.load(str(tmp_path / "trt.ep")).module()(x), model(x))
  close(torch_tensorrt.load(str(tmp_path / "trt.ep")).module()(x), model(x))


def test_save_and_load_a_kiln_file(tmp_path):
  model, x = resnet(), torch.randn(2, 3, 32, 32)
  trt_gm = torch_tensorrt.compile(model, ir="dynamo", inputs=[x])
  torch_tensorrt.save(trt_gm, str(tmp_path / "resnet.kiln"), output_format="kiln", inputs=[x])
  loaded = torch_tensorrt.load(str(tmp_path / "resnet.kiln"))
  assert torch.equal(loaded(x), trt_gm(x))


def test_save_keeps_the_old_file_when_it_fails(tmp_path):
  x = torch.randn(2, 3, 32, 32)
  trt_gm = torch_tensorrt.compile(resnet(), ir="dynamo", inputs=[x])
  path = tmp_path / "model.bin"
  path.write_text("kept")
  with pytest.raises(kiln.Error, match="executorch"):
    torch_tensorrt.save(trt_gm, path, output_format="executorch")
  with pytest.raises(kiln.Error, match="K1001.*intputs"):
    torch_tensorrt.save(trt_gm, path, output_format="kiln", intputs=[x])
  with pytest.raises(kiln.Error, match="K3003"):
    torch_tensorrt.save(trt_gm, tmp_path / "none" / "model.bin", output_format="kiln")
  assert path.read_text() == "kept" and [p.name for p in tmp_path.iterdir()] == ["model.bin"]


def test_refit():
  """A compiled random model gets the weights of another one."""
  torch.manual_seed(1)
  old, new = resnet(), resnet()
  x = torch.randn(2, 3, 32, 32)
  trt_gm = torch_tensorrt.dynamo.compile(
    torch.export.export(old, (x,)), [x], immutable_weights=False, min_block_size=1)
  new_trt_gm = torch_tensorrt.dynamo.refit_module_weights(
    compiled_module=trt_gm, new_weight_module=torch.export.export(new, (x,)), arg_inputs=[x],
    verify_output=True)
  close(new_trt_gm(x), new(x))
  close(trt_gm(x), old(x))


def test_mutable_module_follows_its_model():
  model, other = resnet(), resnet()
  mutable_module = torch_tensorrt.MutableTorchTensorRTModule(
    model, enabled_precisions={torch.float32}, immutable_weights=False)
  x = torch.randn(2, 3, 32, 32)
  close(mutable_module(x), model(x))
  mutable_module.load_state_dict(other.state_dict())
  close(mutable_module(x), other(x))


def test_hybrid_with_executed_ops():
  """Some operators stay in PyTorch, inside one program; the report says which and why."""
  model, x = resnet(), torch.randn(2, 3, 32, 32)
  settings = {"torch_executed_ops": {"torch.ops.aten.max_pool2d.default"}, "min_block_size": 1}
  trt_gm = torch_tensorrt.compile(model, ir="dynamo", inputs=[x], **settings)
  close(trt_gm(x), model(x))
  assert [row["op"] for row in trt_gm.report.fallbacks] == ["aten::max_pool2d"]
  with pytest.raises(kiln.Error, match="K2001"):
    torch_tensorrt.compile(model, ir="dynamo", inputs=[x], **settings,
                           require_full_compilation=True)


def test_dryrun_says_what_would_happen(capsys):
  model, x = resnet(), torch.randn(2, 3, 32, 32)
  result = torch_tensorrt.compile(model, ir="dynamo", inputs=[x], dryrun=True,
                                  torch_executed_ops={"aten::max_pool2d"})
  assert result is model
  text = capsys.readouterr().out
  assert "1 x aten::max_pool2d" in text and "in PyTorch" in text


def test_debugger_writes_what_was_built(tmp_path):
  x = torch.randn(2, 3, 32, 32)
  with torch_tensorrt.dynamo.Debugger("info", logging_dir=str(tmp_path), save_layer_info=True):
    torch_tensorrt.compile(resnet(), ir="dynamo", inputs=[x])
  assert [p.suffix for p in tmp_path.iterdir()] == [".json"]


def test_precisions_that_lower_the_model():
  """Half precision alone or beside float32, through every door."""
  x = torch.randn(2, 3, 32, 32)
  model = resnet()
  expected = model(x)
  compiled = torch_tensorrt.compile(model, ir="dynamo", inputs=[x],
                                    enabled_precisions={torch.half})
  exported = torch_tensorrt.dynamo.compile(torch.export.export(model, (x,)), inputs=[x],
                                           enabled_precisions={torch.float, torch.bfloat16})
  jit = torch_tensorrt.compile(model, ir="torch_compile", inputs=[x],
                               enabled_precisions={torch.bfloat16})
  torch._dynamo.reset()
  backend = torch.compile(model, backend="tensorrt",
                          options={"enabled_precisions": {torch.bfloat16}})
  before = len(kiln.jit_reports())
  for run in (compiled, exported, jit, backend):
    result = run(x)
    assert result.dtype == torch.float32
    # parts of 2^8, a few in a row
    assert (result - expected).norm() < 0.03 * expected.norm()
  assert compiled.report.precision["storage"] == "f16"
  for report in (exported.report, *kiln.jit_reports()[before:]):
    assert report.precision["storage"] == "bf16"


def test_precisions_that_the_model_does_not_have():
  """What Kiln neither computes in nor lowers to: said, with the way out."""
  x = torch.randn(2, 3, 32, 32)
  for call in (
    lambda: torch_tensorrt.compile(resnet().double().half(), ir="dynamo", inputs=[x.half()],
                                   enabled_precisions={torch.float32}),
    lambda: torch_tensorrt.dynamo.compile(torch.export.export(resnet(), (x,)),
                                          enabled_precisions={torch.int8}),
  ):
    with pytest.raises(kiln.Error) as error:
      call()
    assert error.value.code == "K1041" and "enabled_precisions" in str(error.value)
    assert "torch.float32" in error.value.hint
  with pytest.raises(Exception, match="enabled_precisions"):
    torch.compile(resnet(), backend="tensorrt", options={"enabled_precisions": {torch.int8}})(x)


def test_devices_of_a_gpu():
  x = torch.randn(2, 3, 32, 32)
  for make in (lambda: torch_tensorrt.Device("cuda:0"), lambda: torch_tensorrt.Device(gpu_id=0),
               lambda: torch_tensorrt.compile(resnet(), inputs=[x], device=torch.device("cuda")),
               lambda: torch_tensorrt.compile(resnet(), inputs=[x], device="cuda:1")):
    with pytest.raises(kiln.Error) as error:
      make()
    assert error.value.code == "K1041" and 'Device("cpu")' in error.value.hint


def test_contexts_of_the_runtime_around_both_kinds_of_modules():
  model, x = resnet(), torch.randn(2, 3, 32, 32)
  trt_gm = torch_tensorrt.compile(model, ir="dynamo", inputs=[x])
  with torch_tensorrt.runtime.enable_cudagraphs(trt_gm) as cudagraphs_module:
    close(cudagraphs_module(x), model(x))
  assert any("runtime.enable_cudagraphs" in line for line in trt_gm.report.notes)
  optimized = torch.compile(model, backend="torch_tensorrt")
  with pytest.warns(UserWarning, match="runtime.enable_pre_allocated_outputs"):
    context = torch_tensorrt.runtime.enable_pre_allocated_outputs(optimized)
  with context as module:
    close(module(x), model(x))


def test_graph_breaks_leave_several_programs():
  class Model(nn.Module):
    def __init__(self):
      super().__init__()
      self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
      x = torch.relu(self.a(x))
      torch._dynamo.graph_break()
      return self.b(x)

  model, x = Model().eval(), torch.randn(3, 4)
  before = len(kiln.jit_reports())
  close(torch.compile(model, backend="torch_tensorrt")(x), model(x))
  assert len(kiln.jit_reports()) == before + 2


def test_engine_caching_options():
  """The usual options of a cached build; where the cache lies is said by the environment."""
  x = torch.randn(2, 3, 32, 32)
  trt_gm = torch_tensorrt.compile(resnet(), ir="dynamo", inputs=[x], cache_built_engines=True,
                                  reuse_cached_engines=True, immutable_weights=False)
  assert trt_gm(x).shape == (2, 10)
  with pytest.raises(kiln.Error, match="engine_cache_dir") as error:
    torch_tensorrt.compile(resnet(), ir="dynamo", inputs=[x], engine_cache_dir="/tmp/cache")
  assert "KILN_CACHE_DIR" in error.value.hint
