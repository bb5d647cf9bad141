// What lowering writes in place: which steps there are, which memory they touch, and that values
// that are read later survive.
#include <gmock/gmock.h>
#include <sys/mman.h>
#include <unistd.h>

#include "unit/cpu_compile/lowered_program.h"

namespace kiln {
namespace {

using cpu_compile_test::lower;
using cpu_compile_test::Program;
using cpu_compile_test::random_inputs;

constexpr const char* kPasses = "assign_layouts, fuse_epilogues, fuse_tiles";

// Elements that copy steps move.
int64_t copied_elements(const Program& program, const SymbolValues& symbols) {
  int64_t total = 0;
  for (const StepDesc& step : program.plan.main.steps) {
    if (step.kind == "copy") total += num_elements(step.outputs[0].dims).evaluate(symbols).value();
  }
  return total;
}

bool writes_slot_of_input(const Program& program, const std::string& kind, int input) {
  for (const StepDesc& step : program.plan.main.steps) {
    if (step.kind != kind) continue;
    const Slot& slot = program.plan.main.slots[static_cast<size_t>(step.outputs[0].slot)];
    if (slot.kind == SlotKind::kInput && slot.index == input) return true;
  }
  return false;
}

// Runs the program on copies of the inputs; results and written inputs are those of the reference.
void expect_right(Program& program, const SymbolValues& symbols = {},
                  std::vector<HostTensor> inputs = {}) {
  ASSERT_NE(program.engine, nullptr);
  if (inputs.empty()) inputs = random_inputs(program, symbols);
  const auto expected = interpret(*program.module, inputs, program.weights);
  ASSERT_TRUE(expected.ok()) << expected.status().to_string();
  std::vector<HostTensor> after = inputs;
  const auto actual = run(program, after);
  ASSERT_TRUE(actual.ok()) << actual.status().to_string();
  for (size_t i = 0; i < expected->size(); ++i) {
    const OutputSpec& spec = program.module->outputs[i];
    if (spec.kind == OutputSpec::Kind::kResult) {
      EXPECT_EQ((*actual)[i], (*expected)[i]) << "output " << i;
    } else if (spec.kind == OutputSpec::Kind::kWriteInput) {
      EXPECT_EQ(after[static_cast<size_t>(spec.target)], (*expected)[i]) << "written " << i;
    }
  }
}

struct Case {
  const char* name;
  const char* text;
  int64_t copied;  // elements that copy steps move
  SymbolValues symbols = {};
  std::vector<int64_t> index = {};  // contents of the last input
};

std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.name; }

class InPlace : public testing::TestWithParam<Case> {};

TEST_P(InPlace, CopiesAndResults) {
  const Case& c = GetParam();
  Program program = lower(c.text, kPasses);
  ASSERT_NE(program.engine, nullptr);
  EXPECT_EQ(copied_elements(program, c.symbols), c.copied);
  std::vector<HostTensor> inputs = random_inputs(program, c.symbols);
  if (!c.index.empty()) {
    for (size_t i = 0; i < c.index.size(); ++i) {
      inputs.back().set_int(static_cast<int64_t>(i), c.index[i]);
    }
  }
  expect_right(program, c.symbols, inputs);
}

const Case kCases[] = {
    {"index_put",
     R"(main(%x: f32[8,4], %v: f32[2,4], %i: i64[2]) {
  %0 = index_put(%x, %v, %i) {axes=[0]} : f32[8,4]
  return %0 {writes=%x}
})",
     0,
     {},
     {5, 2}},
    {"index_put along the second axis",
     R"(main(%x: f32[3,8,4], %v: f32[3,1,4], %i: i64[1]) {
  %0 = index_put(%x, %v, %i) {axes=[1]} : f32[3,8,4]
  %1 = neg(%0) : f32[3,8,4]
  return %1 {name="y"}, %0 {writes=%x}
})",
     0,
     {},
     {7}},
    {"scatter",
     R"(main(%x: f32[4,4], %v: f32[1,4], %i: i64[1,4]) {
  %0 = scatter(%x, %i, %v) {axis=0} : f32[4,4]
  return %0 {writes=%x}
})",
     0,
     {},
     {3, 0, 1, 3}},
    {"chain of updates",
     R"(main(%x: f32[8,4], %v: f32[2,4], %i: i64[2]) {
  %0 = index_put(%x, %v, %i) {axes=[0]} : f32[8,4]
  %1 = index_put(%0, %v, %i) {axes=[0], accumulate=true} : f32[8,4]
  return %1 {writes=%x}
})",
     0,
     {},
     {5, 2}},
    {"the old value is read afterwards",
     R"(main(%x: f32[8,4], %v: f32[2,4], %i: i64[2]) {
  %0 = index_put(%x, %v, %i) {axes=[0]} : f32[8,4]
  %1 = sub(%0, %x) : f32[8,4]
  return %1 {name="y"}, %0 {writes=%x}
})",
     64,
     {},
     {5, 2}},
    {"a view of the old value is read afterwards",
     R"(main(%x: f32[8,4], %v: f32[2,4], %i: i64[2]) {
  %0 = permute(%x) {order=[1, 0]} : f32[4,8]
  %1 = index_put(%x, %v, %i) {axes=[0]} : f32[8,4]
  %2 = neg(%0) : f32[4,8]
  return %2 {name="y"}, %1 {writes=%x}
})",
     64,
     {},
     {5, 2}},
    {"the old value is an output",
     R"(main(%x: f32[8,4], %v: f32[2,4], %i: i64[2]) {
  %0 = index_put(%x, %v, %i) {axes=[0]} : f32[8,4]
  return %x {name="old"}, %0 {writes=%x}
})",
     96,
     {},
     {5, 2}},
    {"values come from the updated tensor",
     R"(main(%x: f32[8,4], %i: i64[2]) {
  %0 = slice(%x) {axis=0, start=0, end=2, step=1} : f32[2,4]
  %1 = index_put(%x, %0, %i) {axes=[0]} : f32[8,4]
  return %1 {writes=%x}
})",
     64,
     {},
     {1, 0}},
    {"an input that nobody writes",
     R"(main(%x: f32[8,4], %v: f32[2,4], %i: i64[2]) {
  %0 = index_put(%x, %v, %i) {axes=[0]} : f32[8,4]
  return %0 {name="y"}
})",
     32,
     {},
     {5, 2}},
    {"slice assignment", R"(main(%x: f32[2,8,4], %v: f32[2,3,4]) {
  %0 = slice(%x) {axis=1, start=0, end=2, step=1} : f32[2,2,4]
  %1 = slice(%x) {axis=1, start=5, end=8, step=1} : f32[2,3,4]
  %2 = concat(%0, %v, %1) {axis=1} : f32[2,8,4]
  return %2 {writes=%x}
})",
     24},
    {"slice assignment of a computed part", R"(main(%x: f32[2,8,4], %v: f32[2,3,4]) {
  %3 = neg(%v) : f32[2,3,4]
  %0 = slice(%x) {axis=1, start=0, end=2, step=1} : f32[2,2,4]
  %1 = slice(%x) {axis=1, start=5, end=8, step=1} : f32[2,3,4]
  %2 = concat(%0, %3, %1) {axis=1} : f32[2,8,4]
  return %2 {writes=%x}
})",
     0},
    {"slice assignment at a symbolic place",
     R"(symbols {
  n in [1, 5]
}
main(%x: f32[2,8,4], %v: f32[2,?n,4]) {
  %3 = neg(%v) : f32[2,?n,4]
  %1 = slice(%x) {axis=1, start=?n, end=8, step=1} : f32[2,?(-n + 8),4]
  %2 = concat(%3, %1) {axis=1} : f32[2,8,4]
  return %2 {writes=%x}
})",
     0,
     {{"n", 3}}},
    {"x[2:5] += 1", R"(main(%x: f32[8,4], %v: f32[3,4]) {
  %0 = slice(%x) {axis=0, start=2, end=5, step=1} : f32[3,4]
  %1 = add(%0, %v) : f32[3,4]
  %2 = slice(%x) {axis=0, start=0, end=2, step=1} : f32[2,4]
  %3 = slice(%x) {axis=0, start=5, end=8, step=1} : f32[3,4]
  %4 = concat(%2, %1, %3) {axis=0} : f32[8,4]
  return %4 {writes=%x}
})",
     0},
    {"a part that depends on other elements of the slice", R"(main(%x: f32[8,4]) {
  %0 = slice(%x) {axis=0, start=2, end=5, step=1} : f32[3,4]
  %1 = cumsum(%0) {axis=0} : f32[3,4]
  %2 = slice(%x) {axis=0, start=0, end=2, step=1} : f32[2,4]
  %3 = slice(%x) {axis=0, start=5, end=8, step=1} : f32[3,4]
  %4 = concat(%2, %1, %3) {axis=0} : f32[8,4]
  return %4 {writes=%x}
})",
     12},
    {"two assignments", R"(main(%x: f32[8,4], %v: f32[3,4]) {
  %5 = neg(%v) : f32[3,4]
  %6 = slice(%x) {axis=0, start=3, end=8, step=1} : f32[5,4]
  %7 = concat(%5, %6) {axis=0} : f32[8,4]
  %1 = relu(%v) : f32[3,4]
  %2 = slice(%7) {axis=0, start=0, end=2, step=1} : f32[2,4]
  %3 = slice(%7) {axis=0, start=5, end=8, step=1} : f32[3,4]
  %4 = concat(%2, %1, %3) {axis=0} : f32[8,4]
  %8 = neg(%4) : f32[8,4]
  return %8 {name="y"}, %4 {writes=%x}
})",
     0},
    {"x[0, 2:5] = v: a slice of a slice", R"(main(%x: f32[2,8,4], %v: f32[3,4]) {
  %9 = neg(%v) : f32[3,4]
  %0 = slice(%x) {axis=0, start=0, end=1, step=1} : f32[1,8,4]
  %1 = reshape(%0) {shape=[8, 4]} : f32[8,4]
  %2 = slice(%1) {axis=0, start=0, end=2, step=1} : f32[2,4]
  %3 = slice(%1) {axis=0, start=5, end=8, step=1} : f32[3,4]
  %4 = concat(%2, %9, %3) {axis=0} : f32[8,4]
  %5 = reshape(%4) {shape=[1, 8, 4]} : f32[1,8,4]
  %6 = slice(%x) {axis=0, start=1, end=2, step=1} : f32[1,8,4]
  %7 = concat(%5, %6) {axis=0} : f32[2,8,4]
  return %7 {writes=%x}
})",
     0},
    {"index_put into a slice",
     R"(main(%x: f32[2,8,4], %v: f32[2,4], %i: i64[2]) {
  %0 = slice(%x) {axis=0, start=1, end=2, step=1} : f32[1,8,4]
  %1 = reshape(%0) {shape=[8, 4]} : f32[8,4]
  %2 = index_put(%1, %v, %i) {axes=[0]} : f32[8,4]
  %5 = reshape(%2) {shape=[1, 8, 4]} : f32[1,8,4]
  %6 = slice(%x) {axis=0, start=0, end=1, step=1} : f32[1,8,4]
  %7 = concat(%6, %5) {axis=0} : f32[2,8,4]
  return %7 {writes=%x}
})",
     0,
     {},
     {6, 1}},
    {"through a transposed view", R"(main(%x: f32[4,8], %v: f32[2,4]) {
  %9 = neg(%v) : f32[2,4]
  %0 = permute(%x) {order=[1, 0]} : f32[8,4]
  %1 = slice(%0) {axis=0, start=2, end=8, step=1} : f32[6,4]
  %2 = concat(%9, %1) {axis=0} : f32[8,4]
  %3 = permute(%2) {order=[1, 0]} : f32[4,8]
  return %3 {writes=%x}
})",
     8},
    {"elementwise on itself", R"(main(%x: f32[8,4], %y: f32[8,4]) {
  %0 = add(%x, %y) : f32[8,4]
  return %0 {writes=%x}
})",
     0},
    {"a fresh value replaces an input", R"(main(%x: f32[8,4], %y: f32[4,8]) {
  %0 = permute(%y) {order=[1, 0]} : f32[8,4]
  %1 = cumsum(%0) {axis=0} : f32[8,4]
  %2 = neg(%x) : f32[8,4]
  return %2 {name="y"}, %1 {writes=%x}
})",
     32},
    {"a fresh value replaces an input that was read before",
     R"(main(%x: f32[8,4], %y: f32[4,8]) {
  %2 = cumsum(%x) {axis=0} : f32[8,4]
  %0 = permute(%y) {order=[1, 0]} : f32[8,4]
  %1 = cumsum(%0) {axis=0} : f32[8,4]
  return %2 {name="y"}, %1 {writes=%x}
})",
     0},
    {"x = x.t() @ y: reads other elements", R"(main(%x: f32[4,4], %y: f32[4,4]) {
  %0 = permute(%x) {order=[1, 0]} : f32[4,4]
  %1 = cumsum(%0) {axis=0} : f32[4,4]
  return %1 {writes=%x}
})",
     16},
    {"two inputs change places", R"(main(%x: f32[4,4], %y: f32[4,4]) {
  return %y {writes=%x}, %x {writes=%y}
})",
     64},
    {"updates of a value of its own",
     R"(main(%x: f32[8,4], %v: f32[2,4], %i: i64[2]) {
  %0 = neg(%x) : f32[8,4]
  %1 = index_put(%0, %v, %i) {axes=[0]} : f32[8,4]
  %2 = cumsum(%1) {axis=0} : f32[8,4]
  return %2 {name="y"}
})",
     0,
     {},
     {5, 2}},
};

INSTANTIATE_TEST_SUITE_P(Cases, InPlace, testing::ValuesIn(kCases),
                         [](const testing::TestParamInfo<Case>& info) {
                           std::string name = info.param.name;
                           for (char& c : name) {
                             if (!isalnum(static_cast<unsigned char>(c))) c = '_';
                           }
                           return name;
                         });

// Pages that a step has no business with cannot be read or written while it runs.
class GuardedCache {
 public:
  GuardedCache(int64_t rows, size_t row_bytes) : rows_(rows), row_bytes_(row_bytes) {
    memory_ = mmap(nullptr, bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT_NE(memory_, MAP_FAILED);
  }
  ~GuardedCache() { munmap(memory_, bytes()); }
  float* row(int64_t i) {
    return reinterpret_cast<float*>(static_cast<char*>(memory_) + i * row_bytes_);
  }
  void protect_all_but(int64_t first, int64_t end) {
    mprotect(memory_, bytes(), PROT_NONE);
    mprotect(row(first), static_cast<size_t>(end - first) * row_bytes_, PROT_READ | PROT_WRITE);
  }
  void open() { mprotect(memory_, bytes(), PROT_READ | PROT_WRITE); }

 private:
  size_t bytes() const { return static_cast<size_t>(rows_) * row_bytes_; }
  int64_t rows_;
  size_t row_bytes_;
  void* memory_ = nullptr;
};

TEST(InPlaceMemory, OnlyTheTouchedRowsOfACacheAreTouched) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const auto width = static_cast<int64_t>(page / sizeof(float));
  const std::string w = std::to_string(width);
  struct Program2 {
    std::string text;
    bool index;
  };
  const Program2 programs[] = {
      {"main(%x: f32[32," + w + "], %v: f32[2," + w + "], %i: i64[2]) {\n" +
           "  %0 = index_put(%x, %v, %i) {axes=[0]} : f32[32," + w + "]\n" +
           "  return %0 {writes=%x}\n}\n",
       true},
      {"main(%x: f32[32," + w + "], %v: f32[2," + w + "]) {\n" +
           "  %0 = slice(%x) {axis=0, start=0, end=9, step=1} : f32[9," + w + "]\n" +
           "  %1 = slice(%x) {axis=0, start=11, end=32, step=1} : f32[21," + w + "]\n" +
           "  %2 = concat(%0, %v, %1) {axis=0} : f32[32," + w + "]\n" +
           "  return %2 {writes=%x}\n}\n",
       false},
  };
  for (const Program2& p : programs) {
    Program program = lower(p.text, kPasses);
    ASSERT_NE(program.engine, nullptr);
    EXPECT_TRUE(writes_slot_of_input(program, p.index ? "index_put" : "copy", 0));
    GuardedCache cache(32, page);
    std::vector<float> values(static_cast<size_t>(2 * width), 3.0f);
    std::vector<int64_t> positions{9, 10};
    const std::vector<int64_t> cache_shape{32, width}, value_shape{2, width}, index_shape{2};
    std::vector<TensorView> inputs{{cache.row(0), DType::kF32, {}, 2, cache_shape.data()},
                                   {values.data(), DType::kF32, {}, 2, value_shape.data()}};
    if (p.index) inputs.push_back({positions.data(), DType::kI64, {}, 1, index_shape.data()});
    ExecutionContext::Impl context(program.engine);
    ASSERT_TRUE(context.prepare(inputs).ok());
    cache.protect_all_but(9, 11);  // a step that touches another row ends the process here
    const Status status = context.run(inputs, std::vector<TensorView>(1));
    cache.open();
    ASSERT_TRUE(status.ok()) << status.to_string();
    EXPECT_EQ(cache.row(9)[0], 3.0f);
    EXPECT_EQ(cache.row(10)[width - 1], 3.0f);
    EXPECT_EQ(cache.row(8)[width - 1], 0.0f);
    EXPECT_EQ(cache.row(11)[0], 0.0f);
  }
}

}  // namespace
}  // namespace kiln
