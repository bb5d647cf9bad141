// Torch-TensorRT's C++ names over Kiln, as a program of its user calls them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/cuda.h>
#include <torch/script.h>
#include <torch/version.h>
#include <torch_tensorrt/logging.h>
#include <torch_tensorrt/torch_tensorrt.h>

#include <sstream>

namespace {

using c10::IValue;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using torch_tensorrt::DataType;
using torch_tensorrt::Device;
using torch_tensorrt::Input;
using torch_tensorrt::TensorFormat;
using torch_tensorrt::ts::CompileSpec;
namespace logging = torch_tensorrt::logging;

// The text of what a call throws; empty where it does not.
template <typename F>
std::string thrown(F&& call) {
  try {
    call();
  } catch (const c10::Error& error) {
    return error.what_without_backtrace();
  } catch (const std::exception& error) {  // from TorchScript's interpreter
    return error.what();
  }
  return {};
}

IValue described(Input input) { return IValue(c10::make_intrusive<Input>(std::move(input))); }

// The spec of a signature, on the CPU.
CompileSpec spec_of(IValue signature) {
  CompileSpec spec(std::move(signature));
  spec.min_block_size = 1;
  return spec;
}

torch::jit::Module linear_module(const std::string& forward, int64_t in, int64_t out) {
  torch::jit::Module module("Linear");
  module.register_parameter("weight", torch::randn({out, in}) / 4, false);
  module.define(forward);
  return module;
}

int count(const torch::jit::Module& module, const std::string& op) {
  const auto graph = module.get_method("forward").graph()->copy();
  torch::jit::Inline(*graph);
  int found = 0;
  for (const auto* node : graph->nodes()) found += node->kind().toQualString() == op ? 1 : 0;
  return found;
}

torch::Tensor run(torch::jit::Module module, std::vector<IValue> inputs) {
  const torch::NoGradGuard no_grad;
  return module.forward(std::move(inputs)).toTensor();
}

// ---- inputs

constexpr const char* kNested = R"(
def forward(self, pair: Tuple[Tensor, List[Tensor]], table: Dict[str, Tensor],
            mask: Optional[Tensor], scale: float = 2.0):
  y = pair[0] + pair[1][0] * pair[1][1] + table["t"]
  if mask is not None:
    y = y * mask
  return torch.relu(y) * scale
)";

TEST(TorchTensorRT, NestedInputs) {
  torch::jit::Module module("Nested");
  module.define(kNested);
  const IValue rows = described(Input({1, 4}, {3, 4}, {8, 4}));
  c10::impl::GenericList items(rows.type());
  items.push_back(rows);
  items.push_back(rows);
  c10::impl::GenericDict table(c10::StringType::get(), rows.type());
  table.insert("t", described(Input({4})));
  const IValue pair(std::make_tuple(rows, IValue(items)));
  // A tensor stands for what it is like; a number is fixed.
  const IValue signature(std::make_tuple(pair, IValue(table), IValue(torch::ones({4})), IValue(3)));
  const torch::jit::Module compiled = torch_tensorrt::ts::compile(module, spec_of(signature));
  EXPECT_EQ(count(compiled, "aten::relu"), 0);

  for (const int64_t n : {1, 5, 8}) {
    const torch::Tensor x = torch::randn({n, 4}), y = torch::randn({4});
    c10::Dict<std::string, torch::Tensor> given;
    given.insert("t", y);
    const std::vector<IValue> inputs = {std::make_tuple(x, c10::List<torch::Tensor>({x + 1, x})),
                                        given, y, 3.0};
    EXPECT_TRUE(torch::allclose(run(compiled, inputs), run(module, inputs)));
  }
  const torch::Tensor wide = torch::randn({9, 4});
  c10::Dict<std::string, torch::Tensor> given;
  given.insert("t", wide[0]);
  EXPECT_THAT(thrown([&] {
                run(compiled, {std::make_tuple(wide, c10::List<torch::Tensor>({wide, wide})), given,
                               wide[0], 3.0});
              }),
              HasSubstr("K4105"));
}

TEST(TorchTensorRT, SignaturesThatAreNoTuple) {
  torch::jit::Module module("Sum");
  module.define("def forward(self, x, y: int = 2):\n  return torch.relu(x) * y\n");
  const torch::Tensor x = torch::randn({2, 3});
  c10::impl::GenericList arguments(c10::AnyType::get());
  arguments.push_back(described(x));
  arguments.push_back(4);
  EXPECT_TRUE(
      torch::equal(run(torch_tensorrt::ts::compile(module, spec_of(IValue(arguments))), {x, 4}),
                   run(module, {x, 4})));
  EXPECT_TRUE(torch::equal(run(torch_tensorrt::ts::compile(module, spec_of(described(x))), {x}),
                           run(module, {x})));
}

TEST(TorchTensorRT, InputsThatDoNotFit) {
  torch::jit::Module module("Nested");
  module.define(kNested);
  const IValue x = described(Input({4})), none;
  const auto refused = [&](IValue signature) {
    return thrown([&] { torch_tensorrt::ts::compile(module, spec_of(std::move(signature))); });
  };
  EXPECT_THAT(refused(x), AllOf(HasSubstr("K1101"), HasSubstr("pair"), HasSubstr("Tuple")));
  c10::impl::GenericList one(x.type());
  one.push_back(x);
  const IValue pair(std::make_tuple(x, IValue(one)));
  EXPECT_THAT(refused(std::make_tuple(pair)),
              AllOf(HasSubstr("K1101"), HasSubstr("argument table")));
  EXPECT_THAT(refused(std::make_tuple(pair, x, none)),
              AllOf(HasSubstr("K1101"), HasSubstr("table"), HasSubstr("Dict")));
  EXPECT_THAT(refused(std::make_tuple(std::make_tuple(x), none, none)),
              AllOf(HasSubstr("K1101"), HasSubstr("pair"), HasSubstr("2 values, not 1")));
  // Ranks and order of the sizes are looked at, also inside.
  const IValue wrong = described(Input({4}, {2}, {8}));
  EXPECT_THAT(refused(std::make_tuple(std::make_tuple(wrong, IValue(one)), none, none)),
              AllOf(HasSubstr("K1101"), HasSubstr("input 0.0"), HasSubstr("4 <= 2 <= 8")));
  EXPECT_THAT(thrown([&] {
                torch_tensorrt::ts::compile(module, CompileSpec(std::vector<Input>(5, Input({4}))));
              }),
              AllOf(HasSubstr("K1101"), HasSubstr("more inputs")));
}

TEST(TorchTensorRT, WaysToDescribeAnInput) {
  const std::vector<int64_t> small = {1, 3}, usual = {2, 3}, large = {8, 3};
  const Input fixed({1, 3, 8, 8});
  EXPECT_EQ(fixed.shape, fixed.max_shape);
  EXPECT_TRUE(fixed.dtype == DataType::kFloat && fixed.format == TensorFormat::kContiguous);
  EXPECT_EQ(fixed.tensor_domain, (std::vector<double>{0, 2}));
  EXPECT_TRUE(Input(small, TensorFormat::kChannelsLast).format == TensorFormat::kChannelsLast);
  EXPECT_TRUE(Input(small, torch::kHalf).dtype == DataType::kHalf);
  EXPECT_EQ(Input(small, std::vector<double>{-1, 1}).tensor_domain[0], -1);
  EXPECT_EQ(Input(small, DataType::kLong, {0, 9}).tensor_domain[1], 9);
  EXPECT_EQ(Input(small, usual, large).shape, (std::vector<int64_t>{-1, 3}));
  EXPECT_TRUE(Input(small, usual, large, torch::kInt).dtype == DataType::kInt);
  EXPECT_EQ(Input(small, usual, large, DataType::kInt, {0, 5}).tensor_domain[1], 5);
  const torch::Tensor x =
      torch::randn({2, 3, 4, 4}, torch::kHalf).to(at::MemoryFormat::ChannelsLast);
  const Input like(x);
  EXPECT_EQ(like.opt_shape, x.sizes().vec());
  EXPECT_TRUE(like.dtype == DataType::kHalf && like.format == TensorFormat::kChannelsLast);
  EXPECT_EQ(Input(x.sizes()).max_shape, like.max_shape);
  EXPECT_EQ(Input(x.sizes(), x.sizes(), x.sizes(), DataType::kHalf).min_shape, like.min_shape);
  const std::vector<c10::IntArrayRef> sizes = {x.sizes(), x.sizes()};
  EXPECT_EQ(CompileSpec(sizes).graph_inputs.inputs.size(), 2u);
  const std::vector<std::vector<int64_t>> shapes = {{1, 2}, {3}, {4}};
  EXPECT_EQ(CompileSpec(shapes).graph_inputs.inputs[2].shape, shapes[2]);

  torch::jit::Module module("Relu");
  module.define("def forward(self, x):\n  return torch.relu(x)\n");
  const auto refused = [&](const Input& input) {
    return thrown([&] { torch_tensorrt::ts::compile(module, std::vector<Input>{input}); });
  };
  EXPECT_THAT(refused(Input({4}, DataType::kUnknown)), HasSubstr("K1041"));
  EXPECT_THAT(refused(Input({4}, TensorFormat::kUnknown)), HasSubstr("K1041"));
  EXPECT_THAT(refused(Input({4}, std::vector<double>{1})), HasSubstr("K1041"));
  EXPECT_THAT(refused(Input({4}, std::vector<double>{1, 1})), HasSubstr("K1101"));
}

// ---- modules of which a part stays in TorchScript

torch::jit::Module decides() {
  torch::manual_seed(1);
  torch::jit::Module module("Decides");
  module.register_module(
      "first",
      linear_module("def forward(self, x):\n  return torch.relu(x @ self.weight.t())\n", 8, 8));
  module.register_module(
      "last", linear_module("def forward(self, x):\n  return x @ self.weight.t()\n", 8, 4));
  module.define(R"(
def forward(self, x):
  y = self.first.forward(x)
  if bool(y.sum() > 1000):
    return y
  return self.last.forward(y)
)");
  return module;
}

torch::jit::Module reloaded(const torch::jit::Module& module) {
  std::stringstream file;
  module.save(file);
  return torch::jit::load(file);
}

TEST(TorchTensorRT, PartsOfAModule) {
  const torch::jit::Module module = decides();
  CompileSpec spec({Input({3, 8})});
  spec.min_block_size = 1;
  testing::internal::CaptureStderr();
  logging::set_reportable_log_level(logging::kWARNING);
  const torch::jit::Module compiled = torch_tensorrt::ts::compile(module, spec);
  logging::set_reportable_log_level(logging::kERROR);
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr("WARNING: stays in TorchScript: (root): method forward: "),
                    HasSubstr("value of a tensor")));
  EXPECT_EQ(count(compiled, "kiln::run"), 1);  // the other one stands inside the prim::If

  const torch::jit::Module loaded = reloaded(compiled);
  for (const float scale : {1.0f, 1e4f}) {
    const torch::Tensor x = torch::randn({3, 8}) * scale, expected = run(module, {x});
    EXPECT_EQ(expected.size(1), scale == 1 ? 4 : 8);
    EXPECT_TRUE(torch::allclose(run(compiled, {x}), expected, 1e-4, 1e-4));
    EXPECT_TRUE(torch::equal(run(loaded, {x}), run(compiled, {x})));
  }

  spec.require_full_compilation = true;
  EXPECT_THAT(thrown([&] { torch_tensorrt::ts::compile(module, spec); }), HasSubstr("K1145"));
  spec.require_full_compilation = false;
  EXPECT_THAT(
      thrown([&] { torch_tensorrt::ts::convert_method_to_trt_engine(module, "forward", spec); }),
      HasSubstr("K1145"));
  // What is named stays too; where nothing is left there is nothing to compile.
  spec.torch_executed_modules = {"first"};
  const torch::jit::Module less = torch_tensorrt::ts::compile(module, spec);
  EXPECT_EQ(count(less, "kiln::run"), 0);
  spec.torch_executed_modules = {"first", "last"};
  EXPECT_THAT(thrown([&] { torch_tensorrt::ts::compile(module, spec); }), HasSubstr("K1145"));
}

// The sizes of a part follow from those of the inputs, or depend on values.
TEST(TorchTensorRT, PartsWithRanges) {
  torch::jit::Module module = decides();
  module.register_module(
      "found", linear_module("def forward(self, x):\n  return x @ self.weight.t()\n", 8, 8));
  module.define(R"(
def run(self, x):
  y = self.first.forward(torch.cat([x, x]))
  z = self.found.forward(y[y[:, 0] > 0])
  return z if bool(y.sum() > 1000) else self.last.forward(y)
)");
  torch::jit::Module outer("Outer");
  outer.register_module("inner", module);
  outer.define("def forward(self, x):\n  return self.inner.run(x)\n");
  CompileSpec spec({Input({1, 8}, {3, 8}, {6, 8})});
  spec.min_block_size = 1;
  for (const auto& original : {module, outer}) {
    const torch::jit::Module compiled = torch_tensorrt::ts::compile(original, spec);
    const torch::jit::Module loaded = reloaded(compiled);
    for (const int64_t size : {1, 2, 3, 5, 6}) {
      for (const float scale : {1.0f, 1e4f}) {
        const torch::Tensor x = torch::randn({size, 8}) * scale, expected = run(original, {x});
        EXPECT_TRUE(torch::allclose(run(compiled, {x}), expected, 1e-4, 1e-4));
        EXPECT_TRUE(torch::allclose(run(loaded, {x}), expected, 1e-4, 1e-4));
      }
    }
    EXPECT_THAT(thrown([&] { run(compiled, {torch::randn({7, 8})}); }), HasSubstr("K4105"));
    spec.require_full_compilation = true;
    EXPECT_THAT(thrown([&] { torch_tensorrt::ts::compile(original, spec); }), HasSubstr("K1145"));
    spec.require_full_compilation = false;
  }
}

TEST(TorchTensorRT, ProgramsAreLeftAlone) {
  const char* linear = "def forward(self, x):\n  return x @ self.weight.t()\n";
  CompileSpec spec({Input({3, 8})});
  spec.min_block_size = 1;
  const torch::jit::Module inner =
      reloaded(torch_tensorrt::ts::compile(linear_module(linear, 8, 8), spec));
  EXPECT_THAT(thrown([&] { torch_tensorrt::ts::compile(inner, spec); }),
              AllOf(HasSubstr("K1145"), HasSubstr("it is a program of Kiln already")));
  torch::jit::Module outer("Outer");
  outer.register_module("inner", inner);
  outer.register_module("last", linear_module(linear, 8, 4));
  outer.define("def forward(self, x):\n  return self.last.forward(self.inner.forward(x))\n");
  const torch::jit::Module compiled = torch_tensorrt::ts::compile(outer, spec);
  EXPECT_EQ(count(compiled, "kiln::run"), 2);
  const torch::Tensor x = torch::randn({3, 8});
  EXPECT_TRUE(torch::allclose(run(compiled, {x}), run(outer, {x}), 1e-4, 1e-4));
}

TEST(TorchTensorRT, ExamplesHaveTheirDomain) {
  torch::jit::Module table("Table");
  table.register_parameter("rows", torch::randn({3, 4}), false);
  table.define("def forward(self, x):\n  return torch.relu(self.rows[x])\n");
  torch::jit::Module module("Looks");
  module.register_module("table", table);
  module.define(R"(
def forward(self, x):
  y = self.table.forward(x)
  return y if bool(y.sum() > 0) else -y
)");
  const auto compile = [&](double low, double high) {
    CompileSpec spec(std::vector<Input>{Input({5}, DataType::kLong, {low, high})});
    spec.min_block_size = 1;
    return torch_tensorrt::ts::compile(module, spec);
  };
  const torch::Tensor x = torch::tensor({0, 1, 2, 1, 0});
  EXPECT_TRUE(torch::equal(run(compile(0, 3), {x}), run(module, {x})));
  EXPECT_THAT(thrown([&] { compile(7, 8); }), HasSubstr("K1146"));  // no such row
}

TEST(TorchTensorRT, CallsOfSeveralShapes) {
  torch::jit::Module inner("Inner");
  inner.define("def forward(self, x):\n  return torch.relu(x) + 1\n");
  torch::jit::Module module("Twice");
  module.register_module("inner", inner);
  module.register_module(
      "last", linear_module("def forward(self, x):\n  return x @ self.weight.t()\n", 8, 4));
  module.define(R"(
def forward(self, x):
  y = self.inner.forward(x)
  z = self.inner.forward(x[:1])
  if bool(z.sum() > 0):
    y = y + z
  return self.last.forward(y)
)");
  CompileSpec spec({Input({3, 8})});
  spec.min_block_size = 1;
  testing::internal::CaptureStderr();
  logging::set_reportable_log_level(logging::kINFO);
  const torch::jit::Module compiled = torch_tensorrt::ts::compile(module, spec);
  logging::set_reportable_log_level(logging::kERROR);
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              HasSubstr("inner: is called with arguments of several shapes"));
  const torch::Tensor x = torch::randn({3, 8});
  EXPECT_TRUE(torch::allclose(run(compiled, {x}), run(module, {x}), 1e-5, 1e-5));
  EXPECT_EQ(count(compiled, "kiln::run"), 1);
}

// What stays reads a weight of one module, and another one changes a list of its.
TEST(TorchTensorRT, ModulesThatAreMoreThanCalled) {
  torch::jit::Module module("Root");
  const char* linear = "def forward(self, x):\n  return x @ self.weight.t()\n";
  module.register_module("tied", linear_module(linear, 8, 8));
  module.register_module("last", linear_module(linear, 8, 8));
  torch::jit::Module writer("Writer");
  writer.define(R"(
def forward(self, x, xs: List[Tensor]):
  y = torch.relu(x)
  xs.append(y)
  return y
)");
  module.register_module("writer", writer);
  module.define(R"(
def forward(self, x):
  xs = [x]
  y = self.writer.forward(self.tied.forward(x), xs) + self.last.forward(x)
  if bool(y.sum() > 0):
    y = y + xs[1]
  return y @ self.tied.weight
)");
  CompileSpec spec({Input({3, 8})});
  spec.min_block_size = 1;
  testing::internal::CaptureStderr();
  logging::set_reportable_log_level(logging::kINFO);
  const torch::jit::Module compiled = torch_tensorrt::ts::compile(module, spec);
  logging::set_reportable_log_level(logging::kERROR);
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              AllOf(HasSubstr("tied: has an attribute that is read: 'weight' in the root"),
                    HasSubstr("writer: changes a list or dict that it is given")));
  const torch::jit::Module loaded = reloaded(compiled);
  for (const float sign : {1.0f, -1.0f}) {
    const torch::Tensor x = torch::randn({3, 8}) * sign, expected = run(module, {x});
    EXPECT_TRUE(torch::allclose(run(compiled, {x}), expected, 1e-4, 1e-4));
    EXPECT_TRUE(torch::allclose(run(loaded, {x}), expected, 1e-4, 1e-4));
  }
}

// ---- methods

TEST(TorchTensorRT, AnyMethodAsAnEngine) {
  torch::jit::Module module =
      linear_module("def forward(self, x):\n  return torch.logcumsumexp(x, 0)\n", 8, 4);
  module.define("def encode(self, x):\n  return torch.relu(x @ self.weight.t())\n");
  const CompileSpec spec({Input({3, 8})});
  const std::string engine =
      torch_tensorrt::ts::convert_method_to_trt_engine(module, "encode", spec);
  const torch::Tensor x = torch::randn({3, 8});
  const torch::Tensor expected = module.get_method("encode")({x}).toTensor();
  EXPECT_TRUE(torch::allclose(
      run(torch_tensorrt::ts::embed_engine_in_new_module(engine, Device()), {x}), expected));
  EXPECT_THAT(
      thrown([&] { torch_tensorrt::ts::convert_method_to_trt_engine(module, "none", spec); }),
      AllOf(HasSubstr("K1101"), HasSubstr("none")));
  EXPECT_THAT(thrown([&] {
                torch_tensorrt::ts::embed_engine_in_new_module(engine, Device(), {"x"}, {"y"});
              }),
              HasSubstr("K1041"));

  testing::internal::CaptureStdout();
  EXPECT_TRUE(torch_tensorrt::ts::check_method_operator_support(module, "encode"));
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  testing::internal::CaptureStdout();
  EXPECT_FALSE(torch_tensorrt::ts::check_method_operator_support(module, "forward"));
  EXPECT_EQ(testing::internal::GetCapturedStdout(),
            "These operators stay in PyTorch:\n  aten::logcumsumexp\n");
  EXPECT_THAT(thrown([&] { torch_tensorrt::ts::check_method_operator_support(module, "none"); }),
              HasSubstr("K1101"));
}

// ---- devices

TEST(TorchTensorRT, Devices) {
  torch::jit::Module module("Relu");
  module.define("def forward(self, x):\n  return torch.relu(x)\n");
  CompileSpec spec({Input({4})});
  const auto failure = [&] { return thrown([&] { torch_tensorrt::ts::compile(module, spec); }); };
  EXPECT_EQ(failure(), "");  // where the module is
  spec.device.device_type = c10::kCPU;
  EXPECT_EQ(failure(), "");
  spec.device.device_type = Device::DeviceType::kDLA;
  EXPECT_THAT(failure(), AllOf(HasSubstr("K1041"), HasSubstr("DLA")));
  EXPECT_THAT(thrown([&] { spec.device.device_type = c10::kXLA; }), HasSubstr("K1041"));
  spec.device = Device();  // GPU 0, as in Torch-TensorRT
  EXPECT_TRUE(spec.device.device_type == Device::DeviceType::kGPU && spec.device.gpu_id == 0);
  if (!torch::cuda::is_available()) {
    EXPECT_THAT(failure(), HasSubstr("K5301"));
    spec = CompileSpec({Input({4})});
    spec.device.gpu_id = 0;  // alone it means a GPU too
    EXPECT_THAT(failure(), HasSubstr("K5301"));
    EXPECT_THAT(thrown([] { torch_tensorrt::set_device(0); }), HasSubstr("K1041"));
  } else {
    torch_tensorrt::set_device(0);
  }
  EXPECT_THAT(thrown([] { torch_tensorrt::set_device(-1); }), HasSubstr("K1041"));
  EXPECT_THAT(thrown([] { torch_tensorrt::set_device(999); }), HasSubstr("K1041"));
  spec = CompileSpec({Input({4})});
  spec.capability = torch_tensorrt::EngineCapability::kSAFETY;
  EXPECT_THAT(failure(), HasSubstr("K1041"));
  spec = CompileSpec({Input({4})});
  spec.enabled_precisions = {torch::kChar};
  EXPECT_THAT(failure(), HasSubstr("K1041"));
}

TEST(TorchTensorRT, BuildInfo) {
  EXPECT_THAT(torchtrt::get_build_info(),
              AllOf(testing::StartsWith("Kiln "), HasSubstr("\nPyTorch " TORCH_VERSION)));
  testing::internal::CaptureStdout();
  torchtrt::dump_build_info();
  EXPECT_EQ(testing::internal::GetCapturedStdout(), torchtrt::get_build_info() + "\n");
}

// ---- the log

TEST(TorchTensorRT, Logging) {
  EXPECT_EQ(logging::get_logging_prefix(), "");
  EXPECT_EQ(logging::get_reportable_log_level(), logging::kERROR);
  EXPECT_FALSE(logging::get_is_colored_output_on());
  const auto logged = [](logging::Level level, logging::Level reportable) {
    logging::set_reportable_log_level(reportable);
    EXPECT_EQ(logging::get_reportable_log_level(), reportable);
    testing::internal::CaptureStderr();
    logging::log(level, "words");
    return testing::internal::GetCapturedStderr();
  };
  EXPECT_EQ(logged(logging::kERROR, logging::kERROR), "ERROR: words\n");
  EXPECT_EQ(logged(logging::kWARNING, logging::kERROR), "");
  EXPECT_EQ(logged(logging::kINTERNAL_ERROR, logging::kERROR), "INTERNAL_ERROR: words\n");
  EXPECT_EQ(logged(logging::kGRAPH, logging::kGRAPH), "GRAPH: words\n");
  EXPECT_EQ(logged(logging::kGRAPH, logging::kDEBUG), "");
  logging::set_logging_prefix("[app] ");
  logging::set_is_colored_output_on(true);
  EXPECT_TRUE(logging::get_is_colored_output_on());
  EXPECT_EQ(logging::get_logging_prefix(), "[app] ");
  EXPECT_EQ(logged(logging::kERROR, logging::kERROR), "[app] \033[31mERROR\033[0m: words\n");
  logging::set_is_colored_output_on(false);

  // What compiling says, at each level; Kiln's own lines get the prefix too.
  torch::jit::Module module("Relu");
  module.define("def forward(self, x):\n  return torch.relu(x) + 1\n");
  CompileSpec spec({Input({4})});
  spec.min_block_size = 1;
  const auto said = [&](logging::Level level) {
    logging::set_reportable_log_level(level);
    testing::internal::CaptureStderr();
    torch_tensorrt::ts::compile(module, spec);
    return testing::internal::GetCapturedStderr();
  };
  EXPECT_EQ(said(logging::kERROR), "");
  EXPECT_THAT(said(logging::kINFO),
              AllOf(HasSubstr("[app] INFO: compiled: 2 of 2 operators"), Not(HasSubstr("debug"))));
  EXPECT_THAT(said(logging::kDEBUG),
              AllOf(HasSubstr("[app] kiln passes debug: "), Not(HasSubstr("GRAPH"))));
  EXPECT_THAT(said(logging::kGRAPH), HasSubstr("[app] GRAPH: "));
  logging::set_logging_prefix("");
  logging::set_reportable_log_level(logging::kERROR);
}

}  // namespace
