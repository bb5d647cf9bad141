// Files that bring machine code: a runtime without a compiler runs them on code that is the file's,
// and only when they are trusted.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <kiln/builder.h>

#include <cstring>
#include <functional>
#include <map>

#include "backends/cuda/compile/kernel_cache.h"
#include "backends/cuda/compile/nvrtc.h"
#include "backends/cuda/runtime/cuda_device.h"
#include "base/file.h"
#include "base/json.h"
#include "cuda/null_driver.h"
#include "runtime/archive.h"
#include "runtime/engine_reader.h"

namespace kiln::cuda_test {
namespace {

using test::NullDriver;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::IsSubsetOf;
using testing::Not;

CaptureMeta meta(std::vector<CaptureDim> dims) {
  return {DType::kF32, std::move(dims), {}, "", {}};
}

CaptureArg value(CaptureBuilder::Handle handle) {
  CaptureArg arg;
  arg.value = CaptureArg::Value{handle};
  return arg;
}

// y = softmax(relu(x)) of x: f32[s0, 24] for up to 64 rows.
std::unique_ptr<CompiledProgram> build(const std::string& target) {
  CaptureBuilder capture;
  if (target != "cpu") capture.device(DeviceKind::kCuda);
  EXPECT_TRUE(capture.symbol("s0", 1, 64).ok());
  const auto x = capture.input("x", meta({"s0", "24"})).value();
  const auto positive =
      capture.call("aten::relu", "", {value(x)}, {meta({"s0", "24"})}, {}, "").value();
  CaptureArg dim, none;
  dim.value = int64_t{1};
  const auto y = capture.call("aten::softmax", "int", {value(positive[0]), dim, none},
                              {meta({"s0", "24"})}, {}, "");
  EXPECT_TRUE(y.ok()) << y.status().to_string();
  EXPECT_TRUE(capture.output((*y)[0], "y").ok());
  BuildOptions options;
  options.target = target;
  auto compiled = compile(capture, options);
  EXPECT_TRUE(compiled.ok()) << compiled.status().to_string();
  return std::move(compiled).value();
}

std::string native_file(const std::string& target) {
  SaveOptions options;
  options.native = true;
  auto bytes = build(target)->serialize(options);
  EXPECT_TRUE(bytes.ok()) << bytes.status().to_string();
  return bytes.ok() ? *bytes : "";
}

using Entries = std::vector<std::pair<std::string, std::string>>;

Entries entries_of(const std::string& bytes) {
  Entries entries;
  const auto archive = read_archive(bytes);
  for (const ArchiveEntry& entry : archive.value()) {
    entries.emplace_back(entry.name, std::string(entry.content));
  }
  return entries;
}

// The file after a change, with the hashes of its entries set right: what somebody can forge.
std::string changed(const std::string& bytes, const std::function<void(Entries&)>& change) {
  Entries entries = entries_of(bytes);
  change(entries);
  Json listed = Json::object();
  for (size_t i = 1; i < entries.size(); ++i) {
    Json entry = Json::object();
    entry.set("bytes", static_cast<long>(entries[i].second.size()));
    entry.set("xxh128", hash128(entries[i].second).hex());
    listed.set(entries[i].first, std::move(entry));
  }
  Json header = parse_json(entries[0].second).value();
  header.set("entries", std::move(listed));
  entries[0].second = header.dump();
  std::string result;
  StringSink sink(result);
  ArchiveWriter writer(sink);
  for (const auto& [name, content] : entries) EXPECT_TRUE(writer.add(name, content).ok());
  EXPECT_TRUE(writer.finish().ok());
  return result;
}

std::string& content_of(Entries& entries, const std::string& ending) {
  for (auto& [name, content] : entries) {
    if (name.ends_with(ending)) return content;
  }
  ADD_FAILURE() << "no entry " << ending;
  return entries[0].second;
}

void replace(std::string& text, const std::string& from, const std::string& to) {
  const size_t at = text.find(from);
  ASSERT_NE(at, std::string::npos) << from;
  text.replace(at, from.size(), to);
}

// As if every kernel had to be compiled for the first time; counts.
class CountingCompiler : public cuda::KernelCompiler {
 public:
  Result<std::vector<cuda::CompiledKernel>> compile(const std::vector<KernelDesc>& kernels,
                                                    int sm) override {
    compiled += kernels.size();
    return cuda::nvrtc_kernel_compiler().compile(kernels, sm);
  }
  size_t compiled = 0;
};

class NativeFile : public testing::Test {
 protected:
  void SetUp() override {
    const auto info = cuda::nvrtc_info();
    if (!info.ok()) GTEST_SKIP() << "no kernel can be compiled here: " << info.status().to_string();
    NullDriver::get().reset();
    cuda::set_kernel_compiler(nullptr);  // as with libkiln_runtime alone
  }
  void TearDown() override {
    cuda::set_kernel_compiler(&cuda::nvrtc_kernel_compiler());
    cuda::set_driver_for_test(nullptr);
  }

  static Result<std::shared_ptr<Program>> load(const std::string& bytes, bool trust) {
    const auto owner = std::make_shared<const std::string>(bytes);
    LoadOptions options;
    options.trust = trust;
    return Program::load(owner->data(), owner->size(), owner, options);
  }
  static std::string code(const std::string& bytes, bool trust = true) {
    return load(bytes, trust).status().code();
  }

  static Status run(Program& program, int64_t rows, bool transposed) {
    DeviceRuntime& device = **cuda::cuda_device(0);
    const auto size = static_cast<size_t>(rows) * 24 * sizeof(float);
    const auto x = device.allocate_lasting(size), y = device.allocate_lasting(size);
    const int64_t shape[] = {rows, 24}, across[] = {1, rows}, along[] = {24, 1};
    return program.create_context()->run(
        {{x.get(), DType::kF32, device.device(), 2, shape, transposed ? across : nullptr}},
        {{y.get(), DType::kF32, device.device(), 2, shape, along}});
  }

  static std::vector<std::string> cubins_of(const std::string& bytes) {
    std::vector<std::string> cubins;
    for (const auto& [name, content] : entries_of(bytes)) {
      if (name.ends_with(".cubin")) cubins.push_back(content);
    }
    return cubins;
  }
};

TEST_F(NativeFile, RunsOnItsOwnCodeWithoutACompiler) {
  const std::string bytes = native_file("sm_90");
  auto program = load(bytes, true);
  ASSERT_TRUE(program.ok()) << program.status().to_string();
  // One compiled kernel does for all sizes, and copies from other strides have theirs.
  for (const int64_t rows : {1, 3, 64}) {
    for (const bool transposed : {false, true}) {
      NullDriver::get().clear_log();
      const Status status = run(**program, rows, transposed);
      ASSERT_TRUE(status.ok()) << status.to_string();
      EXPECT_EQ(NullDriver::get().launches().size(), transposed && rows > 1 ? 2u : 1u);
    }
  }
  const auto loaded = NullDriver::get().cubins();
  EXPECT_EQ(loaded.size(), 2u);
  for (const std::string& cubin : loaded) {
    bool known = false;
    for (const std::string& own : cubins_of(bytes)) known = known || own.starts_with(cubin);
    EXPECT_TRUE(known);
  }
}

TEST_F(NativeFile, ItsCodeIsUsedOnlyWithTrust) {
  const std::string bytes = native_file("sm_90");
  const Status refused = load(bytes, false).status();
  EXPECT_EQ(refused.code(), "K3303");
  EXPECT_THAT(refused.hint(), HasSubstr("trust"));
  EXPECT_THAT(NullDriver::get().cubins(), IsEmpty());
  // With a compiler the same file runs on what that makes.
  CountingCompiler compiler;
  cuda::set_kernel_compiler(&compiler);
  ASSERT_TRUE(load(bytes, false).ok());
  EXPECT_EQ(compiler.compiled, 1u);
  ASSERT_TRUE(load(bytes, true).ok());
  EXPECT_EQ(compiler.compiled, 1u);
}

TEST_F(NativeFile, FilesWithoutCodeNeedACompiler) {
  EXPECT_EQ(code(build("sm_90")->serialize().value()), "K5309");
}

TEST_F(NativeFile, RunsOnLaterDevicesOfTheSameMajorNumber) {
  const std::string bytes = native_file("sm_80");
  NullDriver::get().major = 8;
  NullDriver::get().minor = 6;
  // Devices are opened once; the second one is this test's.
  LoadOptions options;
  options.trust = true;
  options.device_index = 1;
  const auto owner = std::make_shared<const std::string>(bytes);
  auto program = Program::load(owner->data(), owner->size(), owner, options);
  EXPECT_TRUE(program.ok()) << program.status().to_string();
  EXPECT_EQ(NullDriver::get().cubins().size(), 1u);
}

TEST_F(NativeFile, CodeForAnotherArchitectureIsAnError) {
  const std::string bytes = native_file("sm_80");
  const Status status = load(bytes, true).status();
  EXPECT_EQ(status.code(), "K5309");
  EXPECT_THAT(status.message(), HasSubstr("sm_80"));
  // A list that says otherwise does not deceive the driver.
  const std::string forged = changed(bytes, [](Entries& entries) {
    replace(content_of(entries, "kernels/cuda_sm_80.json"), "sm_80", "sm_90");
  });
  EXPECT_EQ(code(forged), "K5304");
}

TEST_F(NativeFile, CodeOfAnotherKilnIsNotUsed) {
  const std::string bytes = changed(native_file("sm_90"), [](Entries& entries) {
    replace(content_of(entries, "kernels/cuda_sm_90.json"), std::string(cuda::kernel_convention()),
            "0");
  });
  EXPECT_EQ(code(bytes), "K5309");
  CountingCompiler compiler;
  cuda::set_kernel_compiler(&compiler);
  EXPECT_TRUE(load(bytes, true).ok());
  EXPECT_EQ(compiler.compiled, 1u);
}

TEST_F(NativeFile, DamageIsFound) {
  const std::string bytes = native_file("sm_90");
  const auto archive = read_archive(bytes);
  for (const ArchiveEntry& entry : archive.value()) {
    if (!entry.name.starts_with("kernels/")) continue;
    std::string damaged = bytes;
    damaged[static_cast<size_t>(entry.content.data() - bytes.data()) + entry.content.size() / 2] ^=
        1;
    EXPECT_EQ(code(damaged), "K3104") << entry.name;
    EXPECT_EQ(code(damaged, false), "K3104") << entry.name;
  }
  // Code under the name of other code, with every checksum right.
  EXPECT_EQ(code(changed(bytes, [](Entries& entries) { content_of(entries, ".cubin")[100] ^= 1; })),
            "K3104");
  EXPECT_EQ(code(changed(bytes,
                         [](Entries& entries) {
                           std::erase_if(entries, [](const auto& entry) {
                             return entry.first.ends_with(".cubin");
                           });
                         })),
            "K3104");
  const auto with_list = [&](const std::string& from, const std::string& to) {
    return code(changed(bytes, [&](Entries& entries) {
      replace(content_of(entries, "kernels/cuda_sm_90.json"), from, to);
    }));
  };
  EXPECT_EQ(with_list("\"entry\":\"", "\"entry\":\"../"), "K3104");
  EXPECT_EQ(with_list("\"isa\":", "\"no isa\":"), "K3012");
  EXPECT_EQ(with_list("\"code\":\"", "\"code\":\"x"), "K3104");
  // A list, and code named after it, that is no code at all.
  const std::string nonsense = changed(bytes, [](Entries& entries) {
    for (auto& [name, content] : entries) {
      if (!name.ends_with(".cubin")) continue;
      const std::string before = hash128(content).hex();
      content = "no code at all";
      const std::string now = hash128(content).hex();
      std::string& list = content_of(entries, "kernels/cuda_sm_90.json");
      for (size_t at = list.find(before); at != std::string::npos; at = list.find(before)) {
        list.replace(at, before.size(), now);
      }
      name = native_entry_name(hash128(content));
    }
    std::map<std::string, std::string> once(entries.begin() + 1, entries.end());
    entries.resize(1);
    entries.insert(entries.end(), once.begin(), once.end());
  });
  EXPECT_EQ(code(nonsense), "K5304");
}

TEST_F(NativeFile, EqualProgramsGiveEqualBytes) {
  const std::string bytes = native_file("sm_90");
  EXPECT_EQ(bytes, native_file("sm_90"));
  // Beside its code the file is what it would be without.
  std::map<std::string, std::string> plain;
  for (auto& [name, content] : entries_of(build("sm_90")->serialize().value())) {
    plain[name] = content;
  }
  for (const auto& [name, content] : entries_of(bytes)) {
    if (name == "kiln.json" || name.starts_with("kernels/")) continue;
    EXPECT_EQ(plain[name], content) << name;
  }
}

TEST_F(NativeFile, ProgramsForTheCpuHaveNoCode) {
  SaveOptions options;
  options.native = true;
  EXPECT_EQ(build("cpu")->serialize(options).status().code(), "K2011");
}

}  // namespace
}  // namespace kiln::cuda_test
