// Random tile programs as CUDA kernels on the emulated device, against the naive interpreter that
// the CPU's virtual machine is compared with. The programs compute with small integers, so that
// results are exact in every order of summation.
#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "backends/cuda/compile/tile_form.h"
#include "backends/cuda/compile/tile_printer.h"
#include "backends/cuda/compile/tile_schedule.h"
#include "emulator/kernel_run.h"
#include "unit/cpu_kernels/tile_oracle.h"

namespace kiln::cuda {
namespace {

using tile_test::Case;
using tile_test::Operand;

// Numbers above 1 become symbols, as if they were not known when compiling.
DimExpr expression(int64_t value, bool symbolic, SymbolValues& symbols) {
  if (!symbolic || value < 2) return value;
  const std::string name = "v" + std::to_string(value);
  symbols[name] = value;
  return DimExpr::symbol(name);
}

struct Prepared {
  Case test;
  TileKernel kernel;
  TileBinding binding;
  KernelSource source;
};

Result<Prepared> prepare(Case test, bool symbolic, int multiprocessors, int number) {
  SymbolValues values;
  TileParams params;
  params.code = test.code;
  for (int64_t extent : test.binding.extents) {
    params.extents.push_back(expression(extent, symbolic, values));
  }
  for (const TileAccess& access : test.binding.accesses) {
    TileParams::Access to;
    to.offset = expression(access.offset, symbolic, values);
    for (int64_t stride : access.strides) {
      to.strides.push_back(expression(stride, symbolic, values));
    }
    for (const TileGatherAxis& axis : access.axes) {
      to.axes.push_back(
          {expression(axis.size, symbolic, values), expression(axis.stride, symbolic, values)});
    }
    params.accesses.push_back(std::move(to));
  }
  TileParams form = canonical_form(params);
  DeviceSpec device;
  device.kind = DeviceKind::kCuda;
  device.isa = "sm_90";
  device.multiprocessors = multiprocessors;
  SymbolRanges ranges;
  for (const auto& [name, value] : values)
    ranges[name] = {0, number % 3 == 0 ? DimRange::kNoBound : 100};
  TileSurroundings around;
  around.device = &device;
  around.symbols = &ranges;
  around.alignments.assign(test.inputs.size() + test.outputs.size(), 16);
  Prepared prepared{std::move(test), {}, {}, {}};
  KILN_ASSIGN_OR_RETURN(prepared.kernel,
                        make_tile_kernel(form, around, "random_" + std::to_string(number)));
  // As a file would bring it.
  KILN_ASSIGN_OR_RETURN(prepared.kernel, TileKernel::from_json(prepared.kernel.to_json()));
  KILN_ASSIGN_OR_RETURN(prepared.binding, form.bind(values));
  prepared.binding.input_elements = prepared.test.binding.input_elements;
  prepared.binding.output_elements = prepared.test.binding.output_elements;
  KILN_RETURN_IF_ERROR(check_binding(prepared.kernel, prepared.binding, around.alignments));
  prepared.source = print_tile_kernel(prepared.kernel);
  return prepared;
}

std::string run(const Prepared& prepared, const CompiledKernel& compiled,
                std::vector<Operand>* outputs, unsigned* fault) {
  auto loaded = emulator::LoadedKernel::load(compiled);
  if (!loaded.ok()) return loaded.status().to_string();
  std::vector<std::unique_ptr<emulator::Buffer>> buffers;
  std::vector<uint64_t> arguments;
  for (const auto* operands : {&prepared.test.inputs, &prepared.test.outputs}) {
    for (const Operand& operand : *operands) {
      buffers.push_back(std::make_unique<emulator::Buffer>(operand.bytes));
      arguments.push_back(buffers.back()->address());
    }
  }
  emulator::Buffer word(std::vector<unsigned>{0});
  if (prepared.kernel.may_fault()) arguments.push_back(word.address());
  for (const Argument& size : size_arguments(prepared.kernel, prepared.binding)) {
    arguments.push_back(size.value);
  }
  emulator::Shape shape;
  shape.grid[0] = block_count(prepared.kernel, prepared.binding);
  shape.block[0] = prepared.kernel.schedule.threads;
  if (shape.grid[0] > 0) {
    const std::string report = (*loaded)->launch(shape, std::move(arguments));
    if (!report.empty()) return report;
  }
  for (size_t i = 0; i < outputs->size(); ++i) {
    (*outputs)[i].bytes = buffers[prepared.test.inputs.size() + i]->values<uint8_t>();
  }
  *fault = word.values<unsigned>()[0];
  return "";
}

// Compiles all of them at once and compares.
void expect_interpreter(std::vector<Prepared> cases) {
  std::vector<KernelSource> sources;
  for (const Prepared& prepared : cases) sources.push_back(prepared.source);
  emulator::use_device();
  emulator::HostCompiler compiler;
  const auto compiled = compiler.compile(sources);
  ASSERT_TRUE(compiled.ok()) << compiled.status().to_string();
  for (size_t i = 0; i < cases.size(); ++i) {
    SCOPED_TRACE(cases[i].source.text);
    std::vector<Operand> expected = cases[i].test.outputs, actual = cases[i].test.outputs;
    const std::string error = tile_test::interpret(cases[i].test, &expected);
    unsigned fault = 0;
    ASSERT_EQ(run(cases[i], (*compiled)[i], &actual, &fault), "");
    const unsigned expected_fault = error == "K4410" ? 1 : error == "K4411" ? 2 : 0;
    EXPECT_EQ(fault, expected_fault);
    if (!error.empty()) continue;
    for (size_t k = 0; k < actual.size(); ++k) {
      ASSERT_EQ(actual[k].bytes, expected[k].bytes) << "output " << k;
    }
  }
}

// ---- programs over aligned memory, which take vectors

// One of the shapes of statements that models have, over operands of random types that lie densely
// in an order of dims that is not always the domain's.
Case aligned_case(std::mt19937& random) {
  const auto pick = [&](int low, int high) {
    return std::uniform_int_distribution<int>(low, high)(random);
  };
  constexpr DType kTypes[] = {DType::kF32, DType::kF16, DType::kBF16, DType::kF64, DType::kI8,
                              DType::kU8,  DType::kI32, DType::kI64,  DType::kBool};
  const auto type = [&] { return kTypes[pick(0, 3) == 0 ? pick(0, 8) : pick(0, 2)]; };
  constexpr int kExtents[] = {1, 2, 3, 5, 8, 16, 24, 40, 64, 128};
  const int rank = pick(1, 4), row = std::min(rank, pick(0, 2));
  Case test;
  test.binding.extents.resize(static_cast<size_t>(rank));
  for (int64_t& extent : test.binding.extents) extent = kExtents[pick(0, rank > 2 ? 6 : 9)];
  tile_test::CodeBuilder builder(rank, row);

  const auto dense = [&](const std::vector<bool>& absent) {
    std::vector<int> order(static_cast<size_t>(rank));
    for (int d = 0; d < rank; ++d) order[static_cast<size_t>(d)] = d;
    if (pick(0, 2) == 0) std::shuffle(order.begin(), order.end(), random);
    TileAccess access;
    access.strides.assign(static_cast<size_t>(rank), 0);
    int64_t stride = 1;
    for (size_t i = order.size(); i-- > 0;) {
      const auto d = static_cast<size_t>(order[i]);
      if (absent[d]) continue;
      access.strides[d] = stride;
      stride *= test.binding.extents[d];
    }
    return std::pair(access, stride);
  };
  const auto load = [&](int32_t operand, const std::vector<bool>& absent) {
    const auto [access, elements] = dense(absent);
    test.binding.accesses.push_back(access);
    test.binding.input_elements.push_back(elements);
    return builder.cast(builder.load(operand), LaneType::kF32);
  };
  std::vector<bool> all(static_cast<size_t>(rank), false), outer = all, in_row = all;
  for (int d = 0; d < rank; ++d) (d < rank - row ? in_row : outer)[static_cast<size_t>(d)] = true;
  const int32_t x = load(builder.input(type()), all);
  const int32_t y = load(builder.input(type()), pick(0, 1) == 0 ? all : in_row);
  int32_t value = builder.op(TileOp::kAdd, {x, y});
  // Positive: the larger of 0 and -0 depends on the order.
  const int32_t scale = builder.constant(LaneType::kF32, pick(1, 3));
  value = builder.op(TileOp::kMul, {value, scale});
  std::vector<int32_t> per_row;
  if (row > 0) {
    constexpr TileOp kOps[] = {TileOp::kReduceSum, TileOp::kReduceMax, TileOp::kReduceMin,
                               TileOp::kReduceArgMax, TileOp::kReduceArgMin};
    for (int passes = pick(1, 2); passes > 0; --passes) {
      const int32_t first = builder.op(kOps[pick(0, 4)], {value});
      per_row.push_back(builder.cast(first, LaneType::kF32));
      value =
          builder.op(TileOp::kClamp, {builder.op(TileOp::kSub, {value, per_row.back()})}, {-9, 9});
    }
    if (pick(0, 1) == 0)
      value = builder.op(TileOp::kAdd, {value, load(builder.input(type()), outer)});
  }
  const auto store = [&](int32_t reg, const std::vector<bool>& absent) {
    const DType dtype = type();
    const int32_t output = builder.output(dtype);
    builder.store(output, builder.op(TileOp::kClamp, {reg}, {-90, 90}));
    const auto [access, elements] = dense(absent);
    test.binding.accesses.push_back(access);
    test.binding.output_elements.push_back(elements);
  };
  if (row == 0 || pick(0, 2) > 0) store(value, all);
  if (row > 0) store(per_row.back(), outer);
  test.code = builder.code;
  for (size_t i = 0; i < test.code.inputs.size(); ++i) {
    test.inputs.push_back(
        tile_test::make_operand(test.code.inputs[i], test.binding.input_elements[i]));
    tile_test::fill(&test.inputs.back(), random);
  }
  for (size_t i = 0; i < test.code.outputs.size(); ++i) {
    test.outputs.push_back(
        tile_test::make_operand(test.code.outputs[i], test.binding.output_elements[i]));
  }
  return test;
}

class TileRandom : public testing::TestWithParam<int> {};

TEST_P(TileRandom, MatchesTheInterpreter) {
  std::mt19937 random(static_cast<unsigned>(1000 + GetParam()));
  std::vector<Prepared> cases;
  for (int i = 0; i < 40; ++i) {
    Case test = tile_test::random_case(random, i % 4 == 3);
    // Some have a maximum of an empty row.
    if (!verify_tile_binding(test.code, test.binding).ok()) continue;
    const bool symbolic = i % 5 == 4;
    auto prepared = prepare(std::move(test), symbolic, i % 2 == 0 ? 1 : 132, i);
    if (!prepared.ok() && prepared.status().code() == "K2322") continue;  // too many sizes
    ASSERT_TRUE(prepared.ok()) << prepared.status().to_string();
    cases.push_back(std::move(prepared).value());
  }
  ASSERT_GT(cases.size(), 30u);
  expect_interpreter(std::move(cases));
}

TEST_P(TileRandom, MatchesTheInterpreterOnAlignedMemory) {
  std::mt19937 random(static_cast<unsigned>(5000 + GetParam()));
  std::vector<Prepared> cases;
  for (int i = 0; i < 40; ++i) {
    auto prepared = prepare(aligned_case(random), i % 8 == 7, i % 2 == 0 ? 1 : 132, i);
    ASSERT_TRUE(prepared.ok()) << prepared.status().to_string();
    cases.push_back(std::move(prepared).value());
  }
  EXPECT_TRUE(std::any_of(cases.begin(), cases.end(), [](const Prepared& prepared) {
    return prepared.kernel.schedule.vector > 1;
  }));
  expect_interpreter(std::move(cases));
}

INSTANTIATE_TEST_SUITE_P(Seeds, TileRandom, testing::Range(0, 4));

}  // namespace
}  // namespace kiln::cuda
