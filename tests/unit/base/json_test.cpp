#include "base/json.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "base/check.h"

namespace kiln {
namespace {

std::string code_of(std::string_view text, const JsonLimits& limits = {}) {
  Result<Json> result = parse_json(text, limits);
  return result.ok() ? "ok" : result.status().code();
}

std::string again(std::string_view text) { return parse_json(text).value().dump(); }

TEST(Json, Kinds) {
  Json json = parse_json(R"( {"a":[1,-2.5,true,false,null],"b":{"c":"d"}} )").value();
  EXPECT_EQ(json.find("a")->as_array().size(), 5u);
  EXPECT_EQ((*json.find("a"))[0].as_int(), 1);
  EXPECT_EQ((*json.find("a"))[1].as_double(), -2.5);
  EXPECT_TRUE((*json.find("a"))[2].as_bool());
  EXPECT_TRUE((*json.find("a"))[4].is_null());
  EXPECT_EQ(json.find("b")->find("c")->as_string(), "d");
  EXPECT_EQ(json.find("z"), nullptr);
  EXPECT_EQ(json.find("a")->find("z"), nullptr);
  EXPECT_EQ(json.dump(), R"({"a":[1,-2.5,true,false,null],"b":{"c":"d"}})");
}

TEST(Json, WrongKindIsABug) {
  EXPECT_THROW((void)Json(1).as_string(), InternalError);
  EXPECT_THROW((void)Json("x").as_double(), InternalError);
  EXPECT_THROW((void)Json::array()[0], InternalError);
  EXPECT_THROW(Json(1).push_back(2), InternalError);
  EXPECT_THROW(Json(std::numeric_limits<size_t>::max()), InternalError);
}

TEST(Json, IntegersAndDoublesStayApart) {
  EXPECT_EQ(again("1"), "1");
  EXPECT_EQ(again("1.0"), "1.0");
  EXPECT_EQ(again("1e3"), "1000.0");
  EXPECT_EQ(again("-0.0"), "-0.0");
  EXPECT_EQ(again("9223372036854775807"), "9223372036854775807");
  EXPECT_EQ(again("-9223372036854775808"), "-9223372036854775808");
  EXPECT_FALSE(Json(1) == Json(1.0));
  EXPECT_EQ(Json(1.0).dump(), "1.0");
  EXPECT_EQ(Json(1e300).dump(), "1e+300");
  EXPECT_EQ(parse_json(Json(1e300).dump()).value().as_double(), 1e300);
}

TEST(Json, RandomNumbersRoundTrip) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 20000; ++i) {
    const uint64_t bits = random();
    const double value = std::bit_cast<double>(bits);
    if (std::isfinite(value)) {
      const Json back = parse_json(Json(value).dump()).value();
      EXPECT_EQ(std::bit_cast<uint64_t>(back.as_double()), bits);
    }
    const auto integer = static_cast<int64_t>(bits);
    EXPECT_EQ(parse_json(Json(integer).dump()).value().as_int(), integer);
  }
  for (double value :
       {std::numeric_limits<double>::denorm_min(), std::numeric_limits<double>::min(),
        std::numeric_limits<double>::max(), -std::numeric_limits<double>::max()}) {
    EXPECT_EQ(parse_json(Json(value).dump()).value().as_double(), value);
  }
}

TEST(Json, NonFiniteDoublesAreNamed) {
  const double inf = std::numeric_limits<double>::infinity();
  Json json = Json::object();
  json.set("a", inf).as_string();
  json.set("b", -inf);
  json.set("c", std::nan(""));
  EXPECT_EQ(json.dump(), R"({"a":"inf","b":"-inf","c":"nan"})");
  EXPECT_EQ(json.double_at("a").value(), inf);
  EXPECT_EQ(json.double_at("b").value(), -inf);
  EXPECT_TRUE(std::isnan(json.double_at("c").value()));
  EXPECT_EQ(json.find("b")->as_double(), -inf);
}

TEST(Json, RefusesWhatIsNotJson) {
  for (const char* text : {"",
                           " ",
                           "{",
                           "[",
                           "[1",
                           "[1,",
                           "[1,]",
                           "[,1]",
                           "{\"a\"",
                           "{\"a\":",
                           "{\"a\":1",
                           "{\"a\":1,",
                           "{\"a\":1,}",
                           "{a:1}",
                           "{'a':1}",
                           "{1:1}",
                           "tru",
                           "True",
                           "nul",
                           "nan",
                           "NaN",
                           "Infinity",
                           "+1",
                           "01",
                           "-",
                           "-a",
                           "1.",
                           ".5",
                           "1e",
                           "1e+",
                           "0x1",
                           "1 2",
                           "[1]]",
                           "\"",
                           "\"a",
                           "\"\\",
                           "\"\\x\"",
                           "\"\\u12\"",
                           "\"\\u12g4\"",
                           "\"\\u-123\"",
                           "\"\\ud800\"",
                           "\"\\ud800\\u0041\"",
                           "\"\\udc00\"",
                           "\"\n\"",
                           "\"\x01\"",
                           "\"\xff\"",
                           "\"\xc0\x80\"",
                           "\"\xed\xa0\x80\"",
                           "\"\xf4\x90\x80\x80\"",
                           "\"\xe2\x82\"",
                           "\xef\xbb\xbf{}",
                           "/**/1",
                           "9223372036854775808",
                           "-9223372036854775809",
                           "1e400",
                           "{\"a\":1,\"a\":2}"}) {
    EXPECT_EQ(code_of(text), "K3010") << text;
  }
  EXPECT_EQ(code_of(std::string_view("1\0", 2)), "K3010");
  EXPECT_EQ(parse_json("[1, x]").status().message(), "json value expected: at byte 4");
}

TEST(Json, Limits) {
  const auto nested = [](int depth) {
    return std::string(static_cast<size_t>(depth), '[') +
           std::string(static_cast<size_t>(depth), ']');
  };
  EXPECT_EQ(code_of(nested(64)), "ok");
  EXPECT_EQ(code_of(nested(65)), "K3011");
  EXPECT_EQ(code_of(nested(1000000)), "K3011");
  EXPECT_EQ(code_of("[1,2]", {.max_bytes = 4}), "K3011");
  EXPECT_EQ(code_of("[1,2]", {.max_bytes = 5}), "ok");
}

TEST(Json, Strings) {
  const std::string text = "\"\\/\b\f\n\r\t\x01\x1f é € \U0001F600 ";
  EXPECT_EQ(parse_json(Json(text).dump()).value().as_string(), text);
  EXPECT_EQ(Json("\x01\"").dump(), "\"\\u0001\\\"\"");
  EXPECT_EQ(parse_json(R"("\ud83d\ude00\u20ac\u00E9\u0041\/")").value().as_string(),
            "\U0001F600€éA/");
  const std::string with_zero("a\0b", 3);
  EXPECT_EQ(Json(with_zero).dump(), "\"a\\u0000b\"");
  EXPECT_EQ(parse_json(Json(with_zero).dump()).value().as_string(), with_zero);
  EXPECT_EQ(Json("a\xff!").dump(), "\"a\xEF\xBF\xBD!\"");
}

TEST(Json, ObjectsKeepOrderAndFindByName) {
  for (int count : {1, 5, 12, 13, 14, 40, 1000}) {
    Json json;
    std::vector<std::string> names;
    for (int i = 0; i < count; ++i) names.push_back("k" + std::to_string(i * 7919 % 1009));
    for (int i = 0; i < count; ++i) json.set(names[static_cast<size_t>(i)], i);
    json.set(names[0], -1);
    ASSERT_EQ(json.size(), static_cast<size_t>(count));
    const Json back = parse_json(json.dump()).value();
    EXPECT_EQ(back, json);
    size_t at = 0;
    for (const JsonMember& member : back.as_object()) EXPECT_EQ(member.key, names[at++]);
    for (int i = 0; i < count; ++i) {
      for (const Json* value : {&std::as_const(json), &back}) {
        ASSERT_NE(value->find(names[static_cast<size_t>(i)]), nullptr);
        EXPECT_EQ(value->find(names[static_cast<size_t>(i)])->as_int(), i == 0 ? -1 : i);
      }
    }
    EXPECT_EQ(json.find("absent"), nullptr);
    // A parsed object goes on growing.
    Json grown = back;
    grown.set("absent", 3);
    EXPECT_EQ(grown.find("absent")->as_int(), 3);
    EXPECT_EQ(grown.find(names.back())->as_int(), count == 1 ? -1 : count - 1);
  }
}

TEST(Json, DuplicatesInLargeObjects) {
  std::string text = "{";
  for (int i = 0; i < 50; ++i) text += "\"k" + std::to_string(i) + "\":0,";
  EXPECT_EQ(code_of(text + "\"new\":0}"), "ok");
  EXPECT_EQ(code_of(text + "\"k17\":0}"), "K3010");
}

TEST(Json, TypedReaders) {
  const Json json =
      parse_json(R"({"i":3,"d":2.5,"s":"x","b":true,"a":[1,2],"t":["p","q"],"m":[1,"p"],"o":{}})")
          .value();
  EXPECT_EQ(json.int_at("i").value(), 3);
  EXPECT_EQ(json.double_at("i").value(), 3.0);
  EXPECT_EQ(json.double_at("d").value(), 2.5);
  EXPECT_EQ(json.string_at("s").value(), "x");
  EXPECT_TRUE(json.bool_at("b").value());
  EXPECT_EQ(json.ints_at("a").value(), (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(json.strings_at("t").value(), (std::vector<std::string>{"p", "q"}));
  EXPECT_EQ(json.array_at("m").value()->size(), 2u);
  EXPECT_EQ(json.object_at("o").value()->size(), 0u);
  EXPECT_EQ(json.int_at("i", 0, 3).value(), 3);
  for (const Status& status :
       {json.int_at("d").status(), json.int_at("none").status(), json.int_at("i", 4, 9).status(),
        json.double_at("s").status(), json.string_at("i").status(), json.bool_at("i").status(),
        json.array_at("o").status(), json.object_at("a").status(), json.ints_at("m").status(),
        json.strings_at("m").status(), json.find("i")->int_at("i").status()}) {
    EXPECT_EQ(status.code(), "K3012") << status.to_string();
  }
  EXPECT_EQ(json.int_at("s").status().message(),
            "json member has the wrong kind: s: wanted int, found string");
}

TEST(Json, Vectors) {
  EXPECT_EQ(Json(std::vector<int64_t>{1, 2}).dump(), "[1,2]");
  EXPECT_EQ(Json(std::vector<std::string>{"a"}).dump(), "[\"a\"]");
  EXPECT_EQ(Json(std::vector<bool>{true, false}).dump(), "[true,false]");
  Json list;
  list.push_back(1);
  list.push_back("x");
  EXPECT_EQ(list.dump(), "[1,\"x\"]");
}

TEST(Json, PrettyText) {
  const Json json =
      parse_json(R"({"a":[1,2],"b":{},"c":[],"d":[{"e":1},{"f":[]}],"g":{"h":"i"}})").value();
  const std::string pretty = json.dump_pretty();
  EXPECT_EQ(pretty,
            "{\n  \"a\": [1, 2],\n  \"b\": {},\n  \"c\": [],\n  \"d\": [\n    {\n      \"e\": 1\n"
            "    },\n    {\n      \"f\": []\n    }\n  ],\n  \"g\": {\n    \"h\": \"i\"\n  }\n}\n");
  EXPECT_EQ(parse_json(pretty).value(), json);
}

// Any single flipped bit gives an error or a value that round-trips; never a crash.
TEST(Json, FlippedBitsAndTruncations) {
  const std::string text =
      R"({"name":"x\u00e9\n","n":[1,-2.5e3,true,null,{"k":[[]]}],"é":"\ud83d\ude00"})";
  int accepted = 0;
  const auto check = [&](const std::string& changed) {
    Result<Json> json = parse_json(changed);
    if (!json.ok()) return;
    ++accepted;
    EXPECT_EQ(parse_json(json->dump()).value(), *json);
  };
  for (size_t bit = 0; bit < text.size() * 8; ++bit) {
    std::string changed = text;
    changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << bit % 8));
    check(changed);
  }
  EXPECT_GT(accepted, 50);
  for (size_t size = 0; size < text.size(); ++size) {
    EXPECT_EQ(code_of(text.substr(0, size)), "K3010") << size;
  }
}

TEST(Json, ReadsFiveMegabytes) {
  Json list;
  while (list.size() < 60000) {
    Json row;
    row.set("name", "layer" + std::to_string(list.size()));
    row.set("shape", std::vector<int64_t>{1, 64, 112, static_cast<int64_t>(list.size())});
    row.set("scale", 0.125 * static_cast<double>(list.size()));
    row.set("kernel", "onednn.convolution");
    list.push_back(std::move(row));
  }
  const std::string text = list.dump();
  ASSERT_GT(text.size(), size_t{5} << 20);
  const Result<Json> json = parse_json(text);
  ASSERT_TRUE(json.ok()) << json.status().to_string();
  EXPECT_EQ(*json, list);
}

}  // namespace
}  // namespace kiln
