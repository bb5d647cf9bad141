#include "frontend/pt2/tree_spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace kiln::pt2 {
namespace {

using testing::ElementsAre;

const char kLeaf[] = R"({"type": null, "context": null, "children_spec": []})";

std::string node(const std::string& type, const std::string& context,
                 const std::vector<std::string>& children) {
  std::string text =
      R"({"type": ")" + type + R"(", "context": )" + context + R"(, "children_spec": [)";
  for (size_t i = 0; i < children.size(); ++i) text += (i == 0 ? "" : ", ") + children[i];
  return text + "]}";
}

std::string tree(const std::string& root) { return "[1, " + root + "]"; }

std::string code_of(const std::string& text, const Json* fields = nullptr) {
  const auto spec = parse_tree(text, fields);
  return spec.ok() ? "" : spec.status().code();
}

TEST(TreeSpec, NamesAndSources) {
  const std::string dict = node("builtins.dict", R"("[\"q\", 3]")", {kLeaf, kLeaf});
  const std::string arguments = node("builtins.tuple", R"("null")", {kLeaf, dict});
  const std::string keywords =
      node("builtins.dict", R"("[\"k\"]")", {node("builtins.list", R"("null")", {kLeaf, kLeaf})});
  const auto spec =
      parse_tree(tree(node("builtins.tuple", R"("null")", {arguments, keywords})), nullptr);
  ASSERT_TRUE(spec.ok()) << spec.status().to_string();
  EXPECT_EQ(count_leaves(*spec), 5u);
  EXPECT_THAT(leaf_names(*spec), ElementsAre("0.0", "0.1.q", "0.1.3", "1.k.0", "1.k.1"));
  EXPECT_THAT(leaf_sources(*spec, {"x", "more"}),
              ElementsAre("L['x']", "L['more']['q']", "L['more'][3]", "L['k'][0]", "L['k'][1]"));
  EXPECT_THAT(leaf_sources(*spec, {"x"}), ElementsAre("L['x']", "", "", "L['k'][0]", "L['k'][1]"));
}

TEST(TreeSpec, NamedTuples) {
  const std::string text = tree(node("collections.namedtuple", R"("m.Pair")", {kLeaf, kLeaf}));
  const auto fields = parse_json(R"({"m.Pair": {"field_names": ["left", "right"]}})");
  ASSERT_TRUE(fields.ok());
  const auto spec = parse_tree(text, &*fields);
  ASSERT_TRUE(spec.ok()) << spec.status().to_string();
  EXPECT_EQ(spec->type, "named_tuple");
  EXPECT_THAT(leaf_names(*spec), ElementsAre("left", "right"));
  EXPECT_THAT(spec->steps, ElementsAre(".left", ".right"));
  EXPECT_EQ(describe(*spec, {Json(1), Json(2)}).find("items")->dump(), "[1,2]");
  EXPECT_EQ(code_of(text), "K1106");  // no table of fields
  EXPECT_EQ(code_of(tree(node("collections.namedtuple", R"("m.Other")", {kLeaf})), &*fields),
            "K1106");
  EXPECT_EQ(code_of(tree(node("collections.namedtuple", R"("m.Pair")", {kLeaf})), &*fields),
            "K1143");
}

TEST(TreeSpec, Dicts) {
  const auto ordered = parse_tree(
      tree(node("collections.OrderedDict", R"("[\"b\", \"a\"]")", {kLeaf, kLeaf})), nullptr);
  ASSERT_TRUE(ordered.ok()) << ordered.status().to_string();
  EXPECT_THAT(leaf_names(*ordered), ElementsAre("b", "a"));
  EXPECT_EQ(*ordered->description.find("type"), Json("collections.OrderedDict"));
  const auto defaulted = parse_tree(
      tree(node("collections.defaultdict",
                R"("{\"default_factory_module\": \"builtins\", \"dict_context\": [\"a\"]}")",
                {kLeaf})),
      nullptr);
  ASSERT_TRUE(defaulted.ok()) << defaulted.status().to_string();
  EXPECT_THAT(leaf_names(*defaulted), ElementsAre("a"));
  for (const char* context :
       {R"("[\"a\"]")", R"("[\"a\", [1]]")", R"("{}")", R"("null")", "null", R"("[\"a\"")"}) {
    const std::string code = code_of(tree(node("builtins.dict", context, {kLeaf, kLeaf})));
    EXPECT_FALSE(code.empty()) << context;
  }
}

TEST(TreeSpec, RegisteredTypes) {
  const auto named =
      parse_tree(tree(node("m.Output", R"("[\"logits\", \"loss\"]")", {kLeaf, kLeaf})), nullptr);
  ASSERT_TRUE(named.ok()) << named.status().to_string();
  EXPECT_EQ(named->type, "custom");
  EXPECT_EQ(*named->description.find("type"), Json("m.Output"));
  EXPECT_THAT(leaf_names(*named), ElementsAre("logits", "loss"));
  const auto plain =
      parse_tree(tree(node("m.Cache", R"("{\"size\": 3}")", {kLeaf, kLeaf})), nullptr);
  ASSERT_TRUE(plain.ok()) << plain.status().to_string();
  EXPECT_THAT(leaf_names(*plain), ElementsAre("0", "1"));
}

TEST(TreeSpec, RefusesWhatIsNone) {
  for (const std::string& text :
       {std::string(), std::string("[]"), std::string("[1]"), "[2, " + std::string(kLeaf) + "]",
        "[\"1\", " + std::string(kLeaf) + "]", "[1, " + std::string(kLeaf) + ", 3]",
        std::string("[1, {}]"), std::string("[1, []]"),
        std::string(R"([1, {"type": 3, "context": null, "children_spec": []}])"),
        std::string(R"([1, {"type": null, "context": null, "children_spec": 3}])"),
        R"([1, {"type": null, "context": null, "children_spec": [)" + std::string(kLeaf) + "]}]"}) {
    EXPECT_FALSE(code_of(text).empty()) << text;
  }
  EXPECT_EQ(code_of("[2, " + std::string(kLeaf) + "]"), "K1143");
  std::string deep = kLeaf;
  for (int i = 0; i < 1000; ++i) {
    deep = node("builtins.list", "null", {deep});
    if (i < 40) continue;
    EXPECT_FALSE(code_of(tree(deep)).empty()) << i;
  }
}

}  // namespace
}  // namespace kiln::pt2
