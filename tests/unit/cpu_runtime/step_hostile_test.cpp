// Steps of Kiln's own kernels against descriptions that no compiler made: every one is refused when
// the step is created or bound, with a code, and the same description without the damage binds.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "runtime/step.h"

namespace kiln {
namespace {

constexpr int64_t kHuge = int64_t{1} << 61;

ConcreteView tensor(std::vector<int64_t> dims, DType dtype = DType::kF32) {
  ConcreteView view;
  view.dtype = dtype;
  view.strides.resize(dims.size());
  int64_t stride = 1;
  for (size_t i = dims.size(); i-- > 0;) {
    view.strides[i] = stride;
    stride *= dims[i];
  }
  view.slot_elements = stride;
  view.dims = std::move(dims);
  return view;
}

struct Sample {
  std::string kind;
  Json params = Json::object();
  BindContext context;

  // The code of the refusal, "" when it binds.
  std::string code() const {
    StepDesc desc;
    desc.kind = kind;
    desc.params = params;
    desc.inputs.resize(context.inputs.size());
    desc.outputs.resize(context.outputs.size());
    auto step = StepRegistry::global().create(desc, {});
    if (!step.ok()) return step.status().code();
    static const SymbolValues symbols{{"s", 3}};
    BindContext given = context;
    given.symbols = &symbols;
    given.threads = 2;
    // What the runtime checks before it binds.
    for (const auto* list : {&given.inputs, &given.outputs}) {
      for (const ConcreteView& view : *list) {
        if (!view.in_bounds()) return "K3110";
      }
    }
    auto bound = (*step)->bind(given);
    if (!bound.ok()) return bound.status().code();
    run(**bound);
    return "";
  }

  // Whatever was accepted must stay inside its slots, which have no byte to spare here: the address
  // sanitizer sees it. Indices are anything. Steps whose outputs are all empty are never run.
  void run(BoundStep& bound) const {
    bool empty = true;
    for (const ConcreteView& view : context.outputs) empty = empty && view.num_elements() == 0;
    if (empty) return;
    uint32_t random = 1;
    std::vector<std::unique_ptr<std::byte[]>> slots;
    auto addresses = [&](const std::vector<ConcreteView>& views) {
      std::vector<void*> list;
      for (const ConcreteView& view : views) {
        const size_t bytes =
            static_cast<size_t>(view.slot_elements) * dtype_bytes(view.dtype);
        slots.emplace_back(new std::byte[bytes]);
        for (size_t i = 0; i < bytes; ++i) {
          random = random * 1664525 + 1013904223;
          // Small indices, some beyond any axis, some negative; bytes of bool are 0 or 1.
          const bool low_byte = i % dtype_bytes(view.dtype) == 0;
          slots.back()[i] = static_cast<std::byte>(
              view.dtype == DType::kBool ? random >> 31 : low_byte ? (random >> 24) % 5 : 0);
        }
        list.push_back(slots.back().get() +
                       view.offset * static_cast<int64_t>(dtype_bytes(view.dtype)));
      }
      return list;
    };
    const std::vector<void*> inputs = addresses(context.inputs);
    const std::vector<void*> outputs = addresses(context.outputs);
    const size_t scratch_bytes = bound.scratch_bytes();
    if (scratch_bytes > size_t{1} << 30) return;  // the runtime has no such memory and says so
    void* scratch = ::operator new(scratch_bytes, std::align_val_t(64));
    RunArgs args;
    args.inputs = inputs.data();
    args.outputs = outputs.data();
    args.scratch = scratch;
    const Status status = bound.run(args);
    EXPECT_TRUE(status.ok() || status.code() == "K4312") << kind << ": " << status.to_string();
    ::operator delete(scratch, std::align_val_t(64));
  }
};

Json object(std::initializer_list<std::pair<const char*, Json>> members) {
  Json json = Json::object();
  for (const auto& [key, value] : members) json.set(key, value);
  return json;
}
Json ints(std::vector<int64_t> values) { return Json(values); }

std::vector<Sample> samples() {
  std::vector<Sample> list;
  auto add = [&](std::string kind, Json params, std::vector<ConcreteView> in,
                 std::vector<ConcreteView> out) {
    Sample sample{std::move(kind), std::move(params), {}};
    sample.context.inputs = std::move(in);
    sample.context.outputs = std::move(out);
    list.push_back(std::move(sample));
  };
  const DType i64 = DType::kI64;
  add("attention", object({{"causal", false}, {"scale", 0.0}}),
      {tensor({2, 4, 5, 8}), tensor({2, 2, 7, 8}), tensor({2, 2, 7, 6}),
       tensor({2, 1, 1, 7}, DType::kBool)},
      {tensor({2, 4, 5, 6})});
  add("index", object({{"op", "index"}, {"axes", ints({0, 2})}, {"at", 0}, {"negative", true}}),
      {tensor({4, 5, 6}), tensor({3}, i64), tensor({2, 1}, i64)}, {tensor({2, 3, 5})});
  add("index_put",
      object({{"op", "index_put"}, {"axes", ints({1})}, {"at", 1}, {"negative", true},
              {"accumulate", true}}),
      {tensor({4, 3, 1}), tensor({3}, i64)}, {tensor({4, 5, 6})});
  add("gather", object({{"axis", 1}}), {tensor({4, 5}), tensor({3, 7}, i64)}, {tensor({3, 7})});
  add("scatter", object({{"axis", 0}, {"reduce", "mean"}, {"include_self", false}}),
      {tensor({3, 4}, i64), tensor({5, 4})}, {tensor({6, 4})});
  Json low = Json::array();
  low.push_back("1");
  low.push_back("s - 2");
  add("pad", object({{"mode", "reflect"}, {"low", low}, {"value", 0.0}}), {tensor({4, 5})},
      {tensor({6, 8})});
  add("scan", object({{"op", "sum"}, {"axis", 1}}), {tensor({4, 5})}, {tensor({4, 5})});
  add("sort", object({{"axis", 0}, {"descending", true}, {"sorted", true}}), {tensor({4, 5})},
      {tensor({2, 5}), tensor({2, 5}, i64)});
  add("iota", object({{"start", "s"}, {"step", "2"}, {"scale", 1.0}, {"offset", 0.0}}), {},
      {tensor({4}, i64)});
  add("literal", object({{"bytes", "0001020304050607"}}), {}, {tensor({2})});
  add("pool",
      object({{"kind", "max"}, {"rank", 2}, {"kernel", ints({3, 3})}, {"stride", ints({2, 2})},
              {"padding", ints({1, 1})}, {"dilation", ints({1, 1})}, {"count_include_pad", true},
              {"divisor", 0}}),
      {tensor({2, 3, 8, 8})}, {tensor({2, 3, 4, 4}), tensor({2, 3, 4, 4}, i64)});
  add("resize",
      object({{"mode", "linear"}, {"rank", 2}, {"align_corners", false},
              {"scales", Json::array()}}),
      {tensor({2, 3, 8, 8})}, {tensor({2, 3, 5, 13})});
  add("gemm", Json::object(), {tensor({3, 4, 5}), tensor({5, 6}), tensor({6})},
      {tensor({3, 4, 6})});
  add("conv_direct",
      object({{"transposed", false}, {"groups", 2}, {"stride", ints({2, 1})},
              {"padding", ints({1, 0})}, {"dilation", ints({1, 2})}}),
      {tensor({2, 4, 9, 9}), tensor({6, 2, 3, 3}), tensor({6})}, {tensor({2, 6, 5, 5})});
  return list;
}

TEST(OwnStepsHostile, SamplesBind) {
  for (const Sample& sample : samples()) EXPECT_EQ(sample.code(), "") << sample.kind;
}

void expect_refused(const Sample& sample, const std::string& what) {
  const std::string code = sample.code();
  EXPECT_EQ(code.size(), 5u) << sample.kind << ": accepted: " << what;
  EXPECT_TRUE(code.empty() || code.starts_with("K3") || code.starts_with("K43") ||
              code.starts_with("K21"))
      << sample.kind << ": " << what << ": " << code;
}

TEST(OwnStepsHostile, ParametersMissingOrOfAnotherKind) {
  for (const Sample& sample : samples()) {
    for (const JsonMember& member : sample.params.as_object()) {
      Sample damaged = sample;
      damaged.params = Json::object();
      for (const JsonMember& other : sample.params.as_object()) {
        if (other.key != member.key) damaged.params.set(other.key, other.value);
      }
      expect_refused(damaged, "without " + member.key);
      for (const Json& other : {Json(), Json("x"), Json(object({{"a", 1}}))}) {
        damaged = sample;
        damaged.params.set(member.key, other);
        expect_refused(damaged, member.key + " is " + other.dump());
      }
    }
  }
}

TEST(OwnStepsHostile, NumbersOutOfRange) {
  for (const Sample& sample : samples()) {
    for (const JsonMember& member : sample.params.as_object()) {
      // These take any number.
      if (member.key == "divisor" || member.key == "scale" || member.key == "value" ||
          member.key == "offset") {
        continue;
      }
      for (int64_t number : {int64_t{-1}, kHuge, INT64_MIN, INT64_MAX}) {
        Sample damaged = sample;
        if (member.value.is_int()) {
          damaged.params.set(member.key, number);
        } else if (member.value.is_array() && member.value.size() > 0 && member.value[0].is_int()) {
          std::vector<int64_t> values(member.value.size(), number);
          damaged.params.set(member.key, ints(values));
          expect_refused(damaged, member.key + " of " + std::to_string(number));
          values.assign(member.value.size() + 1, 1);
          damaged.params.set(member.key, ints(values));
        } else {
          continue;
        }
        expect_refused(damaged, member.key + " is " + std::to_string(number));
      }
    }
  }
}

TEST(OwnStepsHostile, OperandsThatDoNotFit) {
  for (const Sample& sample : samples()) {
    for (bool output : {false, true}) {
      const size_t count = output ? sample.context.outputs.size() : sample.context.inputs.size();
      for (size_t i = 0; i < count; ++i) {
        auto damage = [&](const std::string& what, auto&& change) {
          Sample damaged = sample;
          auto& list = output ? damaged.context.outputs : damaged.context.inputs;
          change(list, list[i]);
          expect_refused(damaged, what + (output ? " of output " : " of input ") +
                                      std::to_string(i));
        };
        using List = std::vector<ConcreteView>;
        damage("absence", [&](List& list, ConcreteView&) {
          // Optional operands come last, so what goes is the first.
          list.erase(list.begin());
        });
        damage("one too many", [](List& list, ConcreteView& view) {
          const ConcreteView copy = view;
          list.insert(list.end(), 20, copy);
        });
        damage("packing", [](List&, ConcreteView& view) {
          static const ConstantData packed;
          view.packed = &packed;
        });
        damage("rank 17", [](List&, ConcreteView& view) {
          view = tensor(std::vector<int64_t>(17, 1));
        });
        damage("dtype", [&](List&, ConcreteView& view) {
          view.dtype = view.dtype == DType::kBool ? DType::kI8 : DType::kBool;
        });
        if (!output) continue;
        damage("two elements in one place", [](List&, ConcreteView& view) {
          std::fill(view.strides.begin(), view.strides.end(), 0);
        });
        damage("host object", [](List&, ConcreteView& view) { view.kind = SlotKind::kObject; });
      }
    }
  }
}

// Each dim of each operand set to sizes it cannot have. Some changes are allowed (a mask that
// broadcasts, a larger table): those the kernel reads inside its views, which in_bounds() proves.
TEST(OwnStepsHostile, SizesThatDoNotFit) {
  int refused = 0;
  for (const Sample& sample : samples()) {
    for (bool output : {false, true}) {
      const auto& views = output ? sample.context.outputs : sample.context.inputs;
      for (size_t i = 0; i < views.size(); ++i) {
        for (size_t d = 0; d < views[i].dims.size(); ++d) {
          for (int64_t size : {views[i].dims[d] + 1, int64_t{1} << 40, int64_t{0}, int64_t{-1}}) {
            Sample damaged = sample;
            ConcreteView& view =
                (output ? damaged.context.outputs : damaged.context.inputs)[i];
            view.dims[d] = size;
            // An empty view may have any strides; a large one stays inside its slot by stride 0.
            if (size == 0) std::fill(view.strides.begin(), view.strides.end(), kHuge);
            if (size > 100) view.strides[d] = 0;
            if (size >= 0 && size < 100) view.slot_elements *= 2;
            refused += !damaged.code().empty();
          }
        }
      }
    }
  }
  EXPECT_GT(refused, 150);
}

}  // namespace
}  // namespace kiln
