// Damaged and hostile archives: read_pt2 gives a typed error or a program; it never crashes, hangs
// or takes all memory. The files are those of tests/data/make_pt2.py.
#include <gtest/gtest.h>
#include <kiln/pt2.h>

#include <random>

#include "base/file.h"
#include "base/json.h"
#include "frontend/pt2/archive.h"
#include "unit/frontend_pt2/zip_writer.h"

namespace kiln::pt2 {
namespace {

using test::make_zip;
using test::ScratchFile;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kShare = 10;  // of the cases, one in this many
#else
constexpr int kShare = 1;
#endif
constexpr int kFlips = 2000 / kShare, kJsonFlips = 500 / kShare;

std::string code_of(const std::string& path) {
  try {
    CaptureBuilder capture;
    const auto program = read_pt2(path, capture);
    return program.ok() ? "" : program.status().code();
  } catch (const std::exception& error) {
    return std::string("threw ") + error.what();
  }
}

bool is_typed(const std::string& code) {
  return code.empty() || (code.size() == 5 && code[0] == 'K' && code != "K9001" && code != "K4501");
}

struct JsonEntry {
  size_t offset = 0, size = 0;
  size_t crc_offset = 0;  // of the checksum in the directory
};

uint64_t number(const std::string& bytes, size_t offset, int count) {
  uint64_t value = 0;
  for (int i = count; i-- > 0;) {
    value = value << 8 | static_cast<unsigned char>(bytes[offset + static_cast<size_t>(i)]);
  }
  return value;
}

// The files whose names end in .json, by the directory.
std::vector<JsonEntry> json_entries(const std::string& bytes) {
  std::vector<JsonEntry> entries;
  const std::string signature = {'P', 'K', 1, 2};
  for (size_t at = bytes.find(signature); at != std::string::npos;
       at = bytes.find(signature, at + 4)) {
    const std::string name = bytes.substr(at + 46, number(bytes, at + 28, 2));
    if (!name.ends_with(".json")) continue;
    const size_t header = number(bytes, at + 42, 4);
    const size_t skipped = 30 + number(bytes, header + 26, 2) + number(bytes, header + 28, 2);
    entries.push_back({header + skipped, number(bytes, at + 24, 4), at + 16});
  }
  return entries;
}

class DamagedFile : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto content = read_file(std::string(KILN_TEST_SOURCE_DIR) + "/data/" + GetParam() + ".pt2");
    ASSERT_TRUE(content.ok()) << content.status().to_string();
    bytes_ = std::move(*content);
    ASSERT_LT(bytes_.size(), 40u << 10);
  }

  std::string bytes_;
  ScratchFile file_;
};

TEST_P(DamagedFile, UndamagedIsRead) {
  CaptureBuilder capture;
  const auto program = read_pt2(file_.write(bytes_), capture);
  ASSERT_TRUE(program.ok()) << program.status().to_string();
  EXPECT_EQ(program->model, "model");
  EXPECT_TRUE(parse_json(program->metadata).ok());
}

TEST_P(DamagedFile, Truncations) {
  for (size_t size = 0; size < bytes_.size(); size += 1024) {
    EXPECT_EQ(code_of(file_.write(std::string_view(bytes_).substr(0, size))), "K3141") << size;
  }
}

TEST_P(DamagedFile, Flips) {
  std::mt19937 random(1);
  for (int i = 0; i < kFlips; ++i) {
    const size_t at = random() % bytes_.size();
    const char before = bytes_[at];
    bytes_[at] = static_cast<char>(before ^ (1 + random() % 255));
    const std::string code = code_of(file_.write(bytes_));
    EXPECT_TRUE(is_typed(code)) << "byte " << at << ": " << code;
    bytes_[at] = before;
  }
}

// The checksum fits again, so it is the readers of the program that see the damage.
TEST_P(DamagedFile, FlipsInsideTheJson) {
  const std::vector<JsonEntry> entries = json_entries(bytes_);
  ASSERT_EQ(entries.size(), 3u);
  size_t total = 0;
  for (const JsonEntry& entry : entries) total += entry.size;
  constexpr std::string_view kLikely = "0123456789-\"{}[],:.'() e*";
  std::mt19937 random(2);
  int read = 0;
  for (int i = 0; i < kJsonFlips; ++i) {
    size_t at = random() % total;
    size_t which = 0;
    while (at >= entries[which].size) at -= entries[which++].size;
    std::string damaged = bytes_;
    char& byte = damaged[entries[which].offset + at];
    // Every other time a byte that JSON or an expression may well have there.
    byte = i % 2 == 0 ? kLikely[random() % kLikely.size()]
                      : static_cast<char>(byte ^ (1 + random() % 255));
    std::string crc;
    test::put(crc, crc32(damaged.data() + entries[which].offset, entries[which].size), 4);
    damaged.replace(entries[which].crc_offset, 4, crc);
    const std::string code = code_of(file_.write(damaged));
    EXPECT_TRUE(is_typed(code)) << "byte " << entries[which].offset + at << ": " << code;
    EXPECT_NE(code, "K3141");
    read += code.empty() ? 1 : 0;
  }
  EXPECT_GT(read, 0);           // some of them change a comment
  EXPECT_LT(read, kJsonFlips);  // and some what is read
}

INSTANTIATE_TEST_SUITE_P(Files, DamagedFile, testing::Values("stateful", "in_place", "nested"),
                         [](const auto& info) { return std::string(info.param); });

// ---- archives of other kinds
// ---------------------------------------------------------------------

std::string code_of_zip(const std::vector<test::ZipEntry>& entries) {
  ScratchFile file;
  return code_of(file.write(make_zip(entries)));
}

TEST(Archive, OtherGenerations) {
  EXPECT_EQ(code_of_zip({}), "K3143");
  EXPECT_EQ(code_of_zip({{.name = "a/data.pkl", .content = "x"}}), "K3143");
  EXPECT_EQ(code_of_zip({{.name = "serialized_exported_program.json", .content = "{}"},
                         {.name = "serialized_state_dict.pt", .content = "x"}}),
            "K3144");
  EXPECT_EQ(code_of_zip({{.name = "archive/models/model.json", .content = "{}"},
                         {.name = "archive/serialized_state_dict.json", .content = "{}"}}),
            "K3144");
  for (const char* major : {"7", "9", "-8"}) {
    const std::string program = std::string(R"({"schema_version": {"major": )") + major +
                                R"(, "minor": 0}, "graph_module": {}})";
    EXPECT_EQ(code_of_zip({{.name = "a/models/model.json", .content = program}}), "K3143") << major;
  }
  EXPECT_EQ(code_of_zip({{.name = "a/models/model.json", .content = "{}"},
                         {.name = "a/byteorder", .content = "big"}}),
            "K3143");
  EXPECT_EQ(code_of_zip({{.name = "a/models/one.json", .content = "{}"},
                         {.name = "a/models/two.json", .content = "{}"}}),
            "K3143");
}

// Outcome of the weight "w" whose entry is `config`; its bytes are 16.
std::string weight(const std::string& config) {
  ScratchFile file;
  const auto archive = Archive::open(
      file.write(make_zip({{.name = "a/models/model.json", .content = "{}"},
                           {.name = "a/data/weights/weight_0", .content = std::string(16, '\0')},
                           {.name = "a/data/weights/model_weights_config.json",
                            .content = R"({"config": {"w": )" + config + "}}"}})),
      "");
  if (!archive.ok()) return archive.status().code();
  Archive opened = *archive;
  const auto tensor = opened.tensor("w", false);
  return tensor.ok() ? "" : tensor.status().code();
}

std::string config(const std::string& pickled, const std::string& file, const std::string& sizes,
                   const std::string& strides, const std::string& offset) {
  const auto list = [](const std::string& values) {
    std::string text;
    for (size_t at = 0; at < values.size();) {
      const size_t end = std::min(values.find(' ', at), values.size());
      text += std::string(text.empty() ? "" : ", ") + R"({"as_int": )" +
              values.substr(at, end - at) + "}";
      at = end + 1;
    }
    return "[" + text + "]";
  };
  return R"({"path_name": ")" + file + R"(", "is_param": true, "use_pickle": )" + pickled +
         R"(, "tensor_meta": {"dtype": 7, "sizes": )" + list(sizes) + R"(, "strides": )" +
         list(strides) + R"(, "storage_offset": {"as_int": )" + offset +
         R"(}, "layout": 7, "requires_grad": false, "device": {"type": "cpu", "index": null}}})";
}

TEST(Archive, Weights) {
  const auto of = [](const char* sizes, const char* strides, const char* offset = "0") {
    return weight(config("false", "weight_0", sizes, strides, offset));
  };
  EXPECT_EQ(of("2 2", "2 1"), "");
  EXPECT_EQ(of("2 2", "1 2"), "");
  EXPECT_EQ(of("0 9", "9 1"), "");
  EXPECT_EQ(of("3", "1", "1"), "");
  EXPECT_EQ(of("1000", "0"), "");  // expanded
  EXPECT_EQ(weight(config("true", "weight_0", "2 2", "2 1", "0")), "K3144");
  EXPECT_EQ(weight(config("false", "weight_1", "2 2", "2 1", "0")), "K3142");
  EXPECT_EQ(weight(config("false", "../models/model.json", "", "", "0")), "K3142");
  EXPECT_EQ(weight("{}"), weight("3"));
  EXPECT_FALSE(weight("{}").empty());
  for (const char* sizes : {"5", "1 5", "4611686018427387904", "9223372036854775807"}) {
    EXPECT_EQ(of(sizes, std::string(sizes) == "1 5" ? "5 1" : "1"), "K3142") << sizes;
  }
  EXPECT_EQ(of("4294967296 4294967296 4294967296", "0 0 0"), "K3142");
  EXPECT_EQ(of("4294967296 64", "0 0"), "K3142");
  EXPECT_EQ(of("4", "1", "1"), "K3142");
  EXPECT_EQ(of("4", "1", "9223372036854775807"), "K3142");
  EXPECT_EQ(of("4", "1", "-1"), "K3142");
  EXPECT_EQ(of("2", "-1", "1"), "K3142");
  EXPECT_FALSE(of("-2", "1").empty());
  EXPECT_FALSE(of("2 2", "1").empty());
}

TEST(Archive, PickledWeights) {
  ScratchFile file;
  auto archive =
      Archive::open(file.write(make_zip({{.name = "a/models/model.json", .content = "{}"},
                                         {.name = "a/data/weights/model.pt", .content = "x"}})),
                    "");
  ASSERT_TRUE(archive.ok()) << archive.status().to_string();
  const auto tensor = archive->tensor("w", false);
  ASSERT_FALSE(tensor.ok());
  EXPECT_EQ(tensor.status().code(), "K3144");
}

}  // namespace
}  // namespace kiln::pt2
