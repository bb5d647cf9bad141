#include "core/text.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

namespace kiln {
namespace {

TEST(QuoteText, ReadsBackEveryByte) {
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  const std::string text = quote_text(all);
  EXPECT_EQ(text.find('\n'), std::string::npos);
  TextCursor cursor(text);
  std::string back;
  ASSERT_TRUE(cursor.quoted(&back));
  EXPECT_EQ(back, all);
  EXPECT_TRUE(cursor.at_end());
}

TEST(QuoteText, RefusesWhatItNeverWrites) {
  for (const char* text : {"\"open", "\"bad \\q\"", "\"\\x1\"", "\"\\x\"", "\"a\nb\"", "\"\\"}) {
    TextCursor cursor(text);
    std::string back;
    EXPECT_FALSE(cursor.quoted(&back)) << text;
    EXPECT_EQ(cursor.position(), 0u) << text;
  }
}

TEST(DoubleText, IsExactAndNeverLooksLikeAnInteger) {
  const double signalling = std::bit_cast<double>(uint64_t{0x7ff0000000000123});
  for (double value :
       {0.0, -0.0, 1.0, -17.0, 0.1, 1e300, 5e-324, 1.0 / 3.0, 1e22,
        std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(),
        std::numeric_limits<double>::quiet_NaN(), signalling}) {
    const std::string text = double_to_text(value);
    TextCursor as_integer(text);
    int64_t integer = 0;
    EXPECT_FALSE(as_integer.integer(&integer)) << text;
    TextCursor cursor(text);
    double back = 1234;
    ASSERT_TRUE(cursor.number(&back)) << text;
    EXPECT_EQ(std::bit_cast<uint64_t>(back), std::bit_cast<uint64_t>(value)) << text;
  }
  EXPECT_EQ(double_to_text(1.0), "1.0");
  EXPECT_EQ(double_to_text(1e-5), "1e-05");
  EXPECT_EQ(float_to_text(0.1f), "0.1");
}

TEST(DoubleText, RefusesMalformedNumbers) {
  for (const char* text : {"", "nan:12", "nan:0000000000000000", "1.0x", "1e", "infinite"}) {
    TextCursor cursor(text);
    double value = 0;
    EXPECT_FALSE(cursor.number(&value)) << text;
  }
}

TEST(TextCursor, UntilStopsOutsideBracketsAndStrings) {
  TextCursor cursor("f(a, \"]\", [b]) , rest");
  EXPECT_EQ(cursor.until(",]"), "f(a, \"]\", [b])");
  EXPECT_TRUE(cursor.accept(","));
  std::string word;
  ASSERT_TRUE(cursor.identifier(&word));
  EXPECT_EQ(word, "rest");
}

TEST(TextCursor, SkipsCommentsAndNamesPlaces) {
  TextCursor cursor("// head\n  x // tail\n y");
  EXPECT_TRUE(cursor.accept_word("x"));
  EXPECT_FALSE(cursor.accept_word("yy"));
  EXPECT_TRUE(cursor.accept_word("y"));
  EXPECT_EQ(cursor.place(), "line 3, column 3");
}

}  // namespace
}  // namespace kiln
