// What every registered op must do with its own samples. With KILN_OPS_DUMP=FILE the samples, their
// data, the ATen calls of to_aten() and the reference's results are also written to FILE, one JSON
// object a line, for the comparison with PyTorch (tests/python/test_ops_against_torch.py).
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <map>
#include <set>
#include <sstream>
#include <string>

#include "ops/sample_data.h"
#include "recording_emitter.h"

namespace kiln {
namespace {

constexpr uint64_t kSeed = 20;

// Ops whose nodes carry something that samples cannot make: a captured call, a body.
bool needs_samples(const OpDef& op) { return op.name != "aten.call" && op.name != "fused"; }

std::vector<const OpDef*> sampled_ops() {
  std::vector<const OpDef*> ops;
  for (const OpDef* op : OpRegistry::global().all()) {
    if (op->samples != nullptr) ops.push_back(op);
  }
  return ops;
}

template <typename Body>
void for_each_sample(const OpDef& op, Body&& body) {
  for (const OpSample& sample : op.samples()) {
    SCOPED_TRACE(op.name + ": " + sample.why);
    Result<SampleGraph> graph = make_sample_graph(op, sample);
    ASSERT_TRUE(graph.ok()) << graph.status().to_string();
    Result<SampleData> data = make_sample_data(sample, kSeed);
    ASSERT_TRUE(data.ok()) << data.status().to_string();
    body(sample, *graph->node, *data);
  }
}

std::string param_name(const testing::TestParamInfo<const OpDef*>& info) {
  std::string name = info.param->name;
  for (char& c : name) {
    if (c == '.') c = '_';
  }
  return name;
}

class OpConformance : public testing::TestWithParam<const OpDef*> {};

TEST_P(OpConformance, SamplesInferAndRun) {
  const OpDef& op = *GetParam();
  std::set<std::string> reasons;
  for_each_sample(op, [&](const OpSample& sample, Node& node, const SampleData& data) {
    EXPECT_FALSE(sample.why.empty());
    EXPECT_TRUE(reasons.insert(sample.why).second) << "two samples for one reason";
    EXPECT_GE(sample.tolerance, 0);
    Result<std::vector<HostTensor>> results = run_reference(node, data);
    ASSERT_TRUE(results.ok()) << results.status().to_string();
    ASSERT_EQ(static_cast<int>(results->size()), node.num_results());
    for (int i = 0; i < node.num_results(); ++i) {
      // The reference may assign a whole tensor: it must be the inferred one.
      const HostTensor& result = (*results)[static_cast<size_t>(i)];
      EXPECT_EQ(result.dtype(), node.result(i)->dtype());
      Result<std::vector<int64_t>> shape = evaluate(node.result(i)->shape(), data.symbols);
      ASSERT_TRUE(shape.ok());
      EXPECT_EQ(result.shape(), *shape);
    }
  });
}

// Bits, not values: NaN must repeat too.
TEST_P(OpConformance, ReferenceIsDeterministic) {
  for_each_sample(*GetParam(), [&](const OpSample&, Node& node, const SampleData& data) {
    Result<std::vector<HostTensor>> first = run_reference(node, data);
    Result<std::vector<HostTensor>> second = run_reference(node, data);
    ASSERT_TRUE(first.ok() && second.ok());
    EXPECT_TRUE(*first == *second);
  });
}

// Sizes known before run time must not change the answer: the same sample with its symbols replaced
// by their values has the same results.
TEST_P(OpConformance, SymbolsDoNotChangeResults) {
  const OpDef& op = *GetParam();
  for_each_sample(op, [&](const OpSample& sample, Node& node, const SampleData& data) {
    if (data.symbols.empty()) return;
    std::map<std::string, DimExpr, std::less<>> values;
    for (const auto& [name, value] : data.symbols) values[name] = DimExpr(value);
    OpSample constant = sample;
    for (std::optional<Type>& operand : constant.operands) {
      if (!operand) continue;
      for (DimExpr& dim : operand->tensor().shape) dim = dim.substitute(values);
    }
    for (auto& [field, attr] : constant.attrs) {
      if (auto* dim = std::get_if<DimExpr>(&attr)) *dim = dim->substitute(values);
      if (auto* dims = std::get_if<std::vector<DimExpr>>(&attr)) {
        for (DimExpr& dim : *dims) dim = dim.substitute(values);
      }
    }
    Result<SampleGraph> graph = make_sample_graph(op, constant);
    ASSERT_TRUE(graph.ok()) << graph.status().to_string();
    Result<std::vector<HostTensor>> expected = run_reference(node, data);
    Result<std::vector<HostTensor>> actual = run_reference(*graph->node, data);
    ASSERT_TRUE(expected.ok() && actual.ok());
    EXPECT_TRUE(*expected == *actual);
  });
}

// An idempotent op applied to its own result changes no bit; a commutative one does not care for
// the order.
TEST_P(OpConformance, TraitsHold) {
  const OpDef& op = *GetParam();
  for_each_sample(op, [&](const OpSample& sample, Node& node, const SampleData& data) {
    Result<std::vector<HostTensor>> once = run_reference(node, data);
    ASSERT_TRUE(once.ok());
    if (op.has(kIdempotent)) {
      OpSample again = sample;
      again.operands[0] = node.result()->type;
      Result<SampleGraph> graph = make_sample_graph(op, again);
      ASSERT_TRUE(graph.ok()) << graph.status().to_string();
      SampleData fed = data;
      fed.operands[0] = once->at(0);
      Result<std::vector<HostTensor>> twice = run_reference(*graph->node, fed);
      ASSERT_TRUE(twice.ok());
      EXPECT_TRUE(once->at(0) == twice->at(0));
    }
    if (op.has(kCommutative)) {
      OpSample swapped = sample;
      std::swap(swapped.operands[0], swapped.operands[1]);
      Result<SampleGraph> graph = make_sample_graph(op, swapped);
      ASSERT_TRUE(graph.ok()) << graph.status().to_string();
      SampleData fed = data;
      std::swap(fed.operands[0], fed.operands[1]);
      Result<std::vector<HostTensor>> other = run_reference(*graph->node, fed);
      ASSERT_TRUE(other.ok());
      EXPECT_TRUE(once->at(0) == other->at(0));
    }
    if (op.has(kElementwise)) {
      // The result's shape is the broadcast of the operands'.
      for (Value* operand : node.operands())
        EXPECT_LE(operand->shape().size(), node.result()->shape().size());
    }
    if (op.has(kView)) {
      EXPECT_EQ(node.result()->dtype(), node.operand(0)->dtype());
    }
  });
}

TEST_P(OpConformance, ToAtenGivesOneValuePerResult) {
  const OpDef& op = *GetParam();
  if (op.to_aten == nullptr) GTEST_SKIP() << "no ATen form";
  int emitted = 0;
  for_each_sample(op, [&](const OpSample&, Node& node, const SampleData&) {
    RecordingEmitter emitter;
    Result<std::vector<Value*>> values = op.to_aten(node, emitter);
    if (!values.ok()) {
      EXPECT_EQ(values.status().code(), "K2206") << values.status().to_string();
      return;
    }
    ++emitted;
    ASSERT_FALSE(emitter.records.empty());
    ASSERT_EQ(static_cast<int>(values->size()), node.num_results());
    for (int i = 0; i < node.num_results(); ++i)
      EXPECT_EQ((*values)[static_cast<size_t>(i)]->type, node.result(i)->type);
    for (const RecordingEmitter::Record& record : emitter.records)
      EXPECT_EQ(record.name.find("aten::"), 0u) << record.name;
  });
  EXPECT_GT(emitted, 0) << "every sample was refused";
}

INSTANTIATE_TEST_SUITE_P(Ops, OpConformance, testing::ValuesIn(sampled_ops()), param_name);

TEST(OpRegistryTest, EveryOpIsComplete) {
  ASSERT_GT(OpRegistry::global().all().size(), 100u);
  for (const OpDef* op : OpRegistry::global().all()) {
    SCOPED_TRACE(op->name);
    EXPECT_FALSE(op->formula.empty());
    EXPECT_EQ(op->formula.find('\n'), std::string::npos);
    for (const FieldDef& field : op->fields) EXPECT_FALSE(field.doc.empty()) << field.name;
    if (!needs_samples(*op)) continue;
    EXPECT_NE(op->infer, nullptr);
    EXPECT_NE(op->reference, nullptr);
    ASSERT_NE(op->samples, nullptr);
    EXPECT_GE(op->samples().size(), 3u);
    EXPECT_EQ(op->operand_names.empty(), op->max_operands == 0);
    if (op->max_operands >= 0) {
      EXPECT_LE(op->operand_names.size(), static_cast<size_t>(op->max_operands));
    }
  }
}

Json emitter_arg_to_json(const AtenEmitter::Arg& arg, const std::map<Value*, int>& ids,
                         const SymbolValues& symbols) {
  if (const auto* call_arg = std::get_if<CallArg>(&arg.value))
    return call_arg_to_json(*call_arg, symbols);
  if (const auto* value = std::get_if<Value*>(&arg.value)) return tagged("value", ids.at(*value));
  Json list = Json::array();
  for (Value* value : std::get<std::vector<Value*>>(arg.value)) {
    if (value == nullptr) {
      list.push_back(Json());
    } else {
      list.push_back(tagged("value", ids.at(value)));
    }
  }
  return list;
}

// Puts what breaks formulas into float operands, every pair of it where there are two.
void write_special_values(SampleData& data) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  const double values[] = {0.0, -0.0, kInf, -kInf, kNan, 0.5, -1.5, 2.5, 100, -100};
  constexpr int64_t kCount = std::size(values);
  int64_t period = 1;
  for (std::optional<HostTensor>& operand : data.operands) {
    for (int64_t i = 0; i < operand->num_elements(); ++i)
      operand->set_double(i, values[i / period % kCount]);
    period *= kCount;
  }
}

Json dump_line(const OpSample& sample, Node& node, const SampleData& data, Json results,
               const RecordingEmitter& emitter, const std::vector<Value*>& values) {
  Json line = Json::object();
  line.set("op", node.op->name);
  line.set("why", sample.why);
  line.set("tolerance", sample.tolerance);
  std::map<Value*, int> ids;
  Json operands = Json::array();
  for (size_t i = 0; i < data.operands.size(); ++i) {
    if (Value* operand = node.operand(static_cast<int>(i)))
      ids.emplace(operand, static_cast<int>(i));
    operands.push_back(data.operands[i] ? tensor_to_json(*data.operands[i]) : Json());
  }
  int next = static_cast<int>(data.operands.size());
  Json calls = Json::array();
  for (const RecordingEmitter::Record& record : emitter.records) {
    Json call = Json::object();
    call.set("name", record.name);
    call.set("overload", record.overload);
    Json args = Json::array();
    for (const AtenEmitter::Arg& arg : record.args)
      args.push_back(emitter_arg_to_json(arg, ids, data.symbols));
    call.set("args", std::move(args));
    Json result_ids = Json::array();
    for (Value* result : record.results) {
      ids.emplace(result, next);
      result_ids.push_back(next++);
    }
    call.set("results", std::move(result_ids));
    calls.push_back(std::move(call));
  }
  Json outputs = Json::array();
  for (Value* value : values) outputs.push_back(ids.at(value));
  line.set("operands", std::move(operands));
  line.set("calls", std::move(calls));
  line.set("outputs", std::move(outputs));
  line.set("results", std::move(results));
  return line;
}

TEST(OpDump, WritesSamplesForPyTorch) {
  std::ostringstream out;
  int lines = 0;
  for (const OpDef* op : sampled_ops()) {
    if (op->to_aten == nullptr) continue;
    for_each_sample(*op, [&](const OpSample& sample, Node& node, const SampleData& data) {
      RecordingEmitter emitter;
      Result<std::vector<Value*>> values = op->to_aten(node, emitter);
      if (!values.ok()) return;
      const auto write = [&](const OpSample& written, const SampleData& used, bool special) {
        Result<std::vector<HostTensor>> results = run_reference(node, used);
        ASSERT_TRUE(results.ok());
        Json tensors = Json::array();
        for (const HostTensor& result : *results) tensors.push_back(tensor_to_json(result));
        Json line = dump_line(written, node, used, std::move(tensors), emitter, *values);
        line.set("special", special);
        out << line.dump() << "\n";
        ++lines;
      };
      write(sample, data, false);
      const bool same_shapes =
          std::all_of(data.operands.begin(), data.operands.end(), [&](const auto& operand) {
            return operand && is_float(operand->dtype()) && operand->num_elements() >= 100 &&
                   operand->shape() == data.operands[0]->shape();
          });
      if (!op->has(kElementwise) || !same_shapes) return;
      SampleData special = data;
      write_special_values(special);
      OpSample named = sample;
      named.why += ", special values";
      write(named, special, true);
    });
  }
  // Without a file this still checks that every sample can be written.
  EXPECT_GT(lines, 1500);
  if (const char* path = std::getenv("KILN_OPS_DUMP")) {
    std::ofstream file(path);
    file << out.str();
    file.flush();
    EXPECT_TRUE(file.good()) << path;
  }
}

}  // namespace
}  // namespace kiln
