// In-place operators and views, checked by numbers: the program must give what eager gives.
#include "unit/aten/capture_harness.h"

namespace kiln::test {
namespace {

using Kind = OutputSpec::Kind;

// x.clone() is memory of its own: what is written to it is no mutation of the input.
Handle clone(Program& p, Handle x, const CaptureMeta& m) {
  return p.call("aten::clone", {v(x)}, m);
}

TEST(Functionalizer, InPlaceOnATemporary) {
  Program p;
  Handle x = p.input("x", meta({"3"}));
  Handle y = p.call("aten::mul.Tensor", {v(x), num(2)}, meta({"3"}));
  Handle z = p.call("aten::add_.Tensor", {v(y), num(1)}, meta({"3"}));
  p.output(y);
  p.output(z);
  const auto out = p.run({f32({3}, {1, 2, 3})});
  ASSERT_EQ(out.size(), 2u);
  EXPECT_EQ(values(out[0]), (std::vector<double>{3, 5, 7}));
  EXPECT_EQ(out[1], out[0]);
  EXPECT_EQ(p.finish().outputs[0].kind, Kind::kResult);
  EXPECT_TRUE(p.all_native());
}

TEST(Functionalizer, InPlaceOnAnInputIsAWrite) {
  Program p;
  Handle x = p.input("x", meta({"2"}));
  Handle other = p.input("other", meta({"2"}));
  p.call("aten::mul_.Tensor", {v(x), v(other)}, meta({"2"}));
  Handle y = p.call("aten::neg", {v(x)}, meta({"2"}));
  p.output(y);
  const auto out = p.run({f32({2}, {1, 2}), f32({2}, {10, 20})});
  ASSERT_EQ(out.size(), 2u);
  EXPECT_EQ(values(out[0]), (std::vector<double>{-10, -40}));
  EXPECT_EQ(values(out[1]), (std::vector<double>{10, 40}));
  const OutputSpec& spec = p.finish().outputs[1];
  EXPECT_EQ(spec.kind, Kind::kWriteInput);
  EXPECT_EQ(spec.target, 0);
}

// A read before the write sees the old contents, although its value is used after it.
TEST(Functionalizer, EarlierReadsKeepTheOldContents) {
  Program p;
  Handle x = p.input("x", meta({"2"}));
  Handle before = p.call("aten::neg", {v(x)}, meta({"2"}));
  p.call("aten::add_.Scalar", {v(x), num(100)}, meta({"2"}));
  p.output(p.call("aten::add.Tensor", {v(before), v(x)}, meta({"2"})));
  const auto out = p.run({f32({2}, {1, 2})});
  EXPECT_EQ(values(out[0]), (std::vector<double>{100, 100}));
}

TEST(Functionalizer, BuffersBecomeState) {
  Program p;
  Handle x = p.input("x", meta({"2"}));
  Handle count = p.weight("steps", f32({2}, {5, 6}), "buffer");
  Handle scale = p.weight("scale", f32({2}, {2, 3}), "buffer");
  p.call("aten::add_.Tensor", {v(count), num(1)}, meta({"2"}));
  Handle y = p.call("aten::mul.Tensor", {v(x), v(count)}, meta({"2"}));
  p.output(p.call("aten::mul.Tensor", {v(y), v(scale)}, meta({"2"})));
  Module& module = p.finish();
  ASSERT_EQ(module.inputs.size(), 2u);
  EXPECT_EQ(module.inputs[1].name, "steps");
  EXPECT_EQ(module.inputs[1].kind, InputSpec::Kind::kState);
  ASSERT_EQ(module.outputs.size(), 2u);
  EXPECT_EQ(module.outputs[1].kind, Kind::kWriteInput);
  EXPECT_EQ(module.outputs[1].target, 1);
  ASSERT_EQ(module.weights.size(), 2u);  // what one starts from; the other stays a weight
  EXPECT_EQ(module.weights[0].name, "steps");
  EXPECT_EQ(module.inputs[1].initial, "steps");
  EXPECT_EQ(module.weights[1].name, "scale");
  const auto out = p.run({f32({2}, {1, 1}), f32({2}, {5, 6})});
  EXPECT_EQ(values(out[0]), (std::vector<double>{12, 21}));
  EXPECT_EQ(values(out[1]), (std::vector<double>{6, 7}));
}

// ---- writes through views reach the base, and other views of it

TEST(Functionalizer, WriteThroughSlice) {
  Program p;
  Handle x = clone(p, p.input("x", meta({"4", "2"})), meta({"4", "2"}));
  Handle middle = p.call("aten::slice.Tensor", {v(x), num(0), num(1), num(3)}, meta({"2", "2"}));
  p.call("aten::zero_", {v(middle)}, meta({"2", "2"}));
  p.output(x);
  EXPECT_EQ(values(p.run({counting({4, 2})})[0]), (std::vector<double>{0, 1, 0, 0, 0, 0, 6, 7}));
}

TEST(Functionalizer, WriteThroughSliceWithStep) {
  Program p;
  Handle x = clone(p, p.input("x", meta({"2", "5"})), meta({"2", "5"}));
  Handle odd = p.call("aten::slice.Tensor", {v(x), num(1), num(1), num(5), num(2)},
                      meta({"2", "2"}, DType::kF32, {"5", "2"}));
  p.call("aten::fill_.Scalar", {v(odd), real(-1)}, meta({"2", "2"}));
  p.output(x);
  EXPECT_EQ(values(p.run({counting({2, 5})})[0]),
            (std::vector<double>{0, -1, 2, -1, 4, 5, -1, 7, -1, 9}));
}

TEST(Functionalizer, WriteThroughAChainOfViews) {
  Program p;
  Handle x = clone(p, p.input("x", meta({"2", "6"})), meta({"2", "6"}));
  Handle cube = p.call("aten::view", {v(x), nums({2, 2, 3})}, meta({"2", "2", "3"}));
  Handle turned = p.call("aten::permute", {v(cube), nums({2, 0, 1})},
                         meta({"3", "2", "2"}, DType::kF32, {"1", "6", "3"}));
  Handle row = p.call("aten::select.int", {v(turned), num(0), num(-1)},
                      meta({"2", "2"}, DType::kF32, {"6", "3"}));
  p.call("aten::mul_.Tensor", {v(row), num(10)}, meta({"2", "2"}));
  p.output(x);
  p.output(cube);
  const auto out = p.run({counting({2, 6})});
  const std::vector<double> expected{0, 1, 20, 3, 4, 50, 6, 7, 80, 9, 10, 110};
  EXPECT_EQ(values(out[0]), expected);
  EXPECT_EQ(values(out[1]), expected);
}

TEST(Functionalizer, WriteThroughDiagonal) {
  Program p;
  Handle x = clone(p, p.input("x", meta({"3", "3"})), meta({"3", "3"}));
  Handle on = p.call("aten::diagonal", {v(x), num(1)}, meta({"2"}, DType::kF32, {"4"}));
  p.call("aten::copy_", {v(on), v(p.call("aten::full", {nums({1}), real(-5)}, meta({"1"})))},
         meta({"2"}));
  p.output(x);
  EXPECT_EQ(values(p.run({counting({3, 3})})[0]),
            (std::vector<double>{0, -5, 2, 3, 4, -5, 6, 7, 8}));
}

TEST(Functionalizer, WriteToBaseReachesViews) {
  Program p;
  Handle x = clone(p, p.input("x", meta({"2", "2"})), meta({"2", "2"}));
  Handle turned = p.call("aten::t", {v(x)}, meta({"2", "2"}, DType::kF32, {"1", "2"}));
  p.call("aten::add_.Tensor", {v(x), num(1)}, meta({"2", "2"}));
  p.output(turned);
  EXPECT_EQ(values(p.run({counting({2, 2})})[0]), (std::vector<double>{1, 3, 2, 4}));
}

TEST(Functionalizer, TwoViewsOfOneTensor) {
  Program p;
  Handle x = clone(p, p.input("x", meta({"4"})), meta({"4"}));
  Handle low = p.call("aten::slice.Tensor", {v(x), num(0), num(0), num(3)}, meta({"3"}));
  Handle high = p.call("aten::slice.Tensor", {v(x), num(0), num(1), num(4)}, meta({"3"}));
  p.call("aten::zero_", {v(low)}, meta({"3"}));
  p.call("aten::add_.Tensor", {v(high), num(7)}, meta({"3"}));
  p.output(x);
  p.output(low);
  const auto out = p.run({counting({4})});
  EXPECT_EQ(values(out[0]), (std::vector<double>{0, 7, 7, 10}));
  EXPECT_EQ(values(out[1]), (std::vector<double>{0, 7, 7}));
}

TEST(Functionalizer, SplitPartsShareMemory) {
  Program p;
  Handle x = clone(p, p.input("x", meta({"2", "4"})), meta({"2", "4"}));
  const auto parts = p.calls(
      "aten::split.Tensor", {v(x), num(2), num(1)},
      {meta({"2", "2"}, DType::kF32, {"4", "1"}), meta({"2", "2"}, DType::kF32, {"4", "1"})});
  p.call("aten::neg_", {v(parts[1])}, meta({"2", "2"}));
  p.output(x);
  EXPECT_EQ(values(p.run({counting({2, 4})})[0]),
            (std::vector<double>{0, 1, -2, -3, 4, 5, -6, -7}));
}

// A key-value cache: an input written through a slice whose place is symbolic.
TEST(Functionalizer, SymbolicSliceOfAnInput) {
  Program p;
  p.symbol("n", 1, 3);
  Handle cache = p.input("cache", meta({"8"}));
  Handle x = p.input("x", meta({"n"}));
  Handle part =
      p.call("aten::slice.Tensor", {v(cache), num(0), num(2), expr("n + 2")}, meta({"n"}));
  p.call("aten::copy_", {v(part), v(x)}, meta({"n"}));
  p.output(p.call("aten::sum", {v(cache)}, meta({})));
  const auto out = p.run({counting({8}), f32({2}, {100, 200})});
  EXPECT_EQ(values(out[0]), (std::vector<double>{28 - 2 - 3 + 300}));
  EXPECT_EQ(values(out[1]), (std::vector<double>{0, 1, 100, 200, 4, 5, 6, 7}));
}

// ---- what is an alias and what a copy

// h.t().relu_() is no more contiguous than h.t(): flatten() of it is a copy.
TEST(Functionalizer, WhatAnInPlaceOperatorReturnsHasTheStridesOfItsOperand) {
  const CaptureMeta turned = meta({"3", "2"}, DType::kF32, {"1", "3"});
  for (const char* copier : {"aten::flatten.using_ints", "aten::contiguous"}) {
    Program p;
    Handle h = clone(p, p.input("x", meta({"2", "3"})), meta({"2", "3"}));
    Handle r = p.call("aten::relu_", {v(p.call("aten::t", {v(h)}, turned))}, turned);
    Handle z = copier[6] == 'f' ? p.call(copier, {v(r)}, meta({"6"}))
                                : p.call(copier, {v(r)}, meta({"3", "2"}));
    p.call("aten::zero_", {v(z)}, meta({copier[6] == 'f' ? "6" : "3"}));
    p.output(h);
    EXPECT_EQ(values(p.run({counting({2, 3})})[0]), values(counting({2, 3}))) << copier;
  }
}

TEST(Functionalizer, ResultsOfTheHostHaveTheirStrides) {
  Program p;
  Handle x = p.input("x", meta({"2", "3"}));
  Handle q = p.call("t::qr", {v(x)}, meta({"3", "2"}, DType::kF32, {"1", "3"}),
                    "t::qr(Tensor self) -> Tensor");
  Handle z = p.call("aten::contiguous", {v(q)}, meta({"3", "2"}));
  p.call("aten::zero_", {v(z)}, meta({"3", "2"}));
  p.output(q);
  EXPECT_TRUE(p.finish().main.outputs()[0]->producer()->is("aten.call"));
}

TEST(Functionalizer, RavelOfAStridedVectorIsACopy) {
  Program p;
  Handle x = clone(p, p.input("x", meta({"4"})), meta({"4"}));
  const CaptureMeta half = meta({"2"}, DType::kF32, {"2"});
  Handle even = p.call("aten::slice.Tensor", {v(x), num(0), num(0), num(4), num(2)}, half);
  p.call("aten::zero_", {v(p.call("aten::ravel", {v(even)}, meta({"2"})))}, meta({"2"}));
  p.output(x);
  EXPECT_EQ(values(p.run({counting({4})})[0]), values(counting({4})));
}

// ---- in-place operators that change how memory is seen

TEST(Functionalizer, TransposeInPlaceIsAnotherLookAtTheSameMemory) {
  const CaptureMeta square = meta({"2", "2"}), turned = meta({"2", "2"}, DType::kF32, {"1", "2"});
  for (const char* name : {"aten::transpose_", "aten::swapaxes_", "aten::swapdims_"}) {
    Program p;
    Handle a = clone(p, p.input("x", square), square);
    Handle same = p.call("aten::add_.Tensor", {v(a), num(1)}, square);
    Handle row = p.call("aten::select.int", {v(a), num(0), num(0)}, meta({"2"}));
    p.call(name, {v(a), num(0), num(1)}, turned);
    Handle first =
        p.call("aten::select.int", {v(a), num(0), num(0)}, meta({"2"}, DType::kF32, {"2"}));
    p.call("aten::add_.Tensor", {v(first), num(10)}, meta({"2"}, DType::kF32, {"2"}));
    for (Handle handle : {a, row, same}) p.output(handle);
    const auto out = p.run({counting({2, 2})});
    EXPECT_EQ(values(out[0]), (std::vector<double>{11, 13, 2, 4})) << name;
    EXPECT_EQ(values(out[1]), (std::vector<double>{11, 2})) << name;
    EXPECT_EQ(out[2], out[0]) << name;
    EXPECT_TRUE(p.all_native());
  }
}

TEST(Functionalizer, TransposeInPlaceByTheHost) {
  Program p;
  p.builder.keep_in_torch({"aten::t_"}, {});
  Handle a = clone(p, p.input("x", meta({"2", "3"})), meta({"2", "3"}));
  const CaptureMeta turned = meta({"3", "2"}, DType::kF32, {"1", "3"});
  p.call("aten::t_", {v(a)}, turned);
  p.output(a);
  Module& module = p.finish();
  EXPECT_EQ(module.main.outputs()[0]->shape(), (Shape{3, 2}));
  EXPECT_NE(print(module).find("aten::t("), std::string::npos);
}

TEST(Functionalizer, WhatIsGivenKeepsItsShape) {
  const CaptureMeta turned = meta({"2", "2"}, DType::kF32, {"1", "2"});
  for (bool weight : {false, true}) {
    Program p;
    Handle x = weight ? p.weight("w", counting({2, 2}), "buffer") : p.input("x", meta({"2", "2"}));
    auto refused = p.builder.call("aten::t_", "", {v(x)}, {turned}, {"", ""}, "");
    EXPECT_EQ(refused.status().code(), "K1304");
  }
  Program p;
  Handle a = clone(p, p.input("x", meta({"2", "2"})), meta({"2", "2"}));
  auto refused =
      p.builder.call("aten::set_", "source_Tensor", {v(a), v(a)}, {meta({"2", "2"})}, {"", ""}, "");
  EXPECT_EQ(refused.status().code(), "K1304");
}

// ---- strides at capture that decide what is a view

// What is asked of the strides of x when it is read as [2, 3] and `reshape` merges its dims.
Shape needed_strides(bool view_is_written, bool of_input, bool read_after) {
  Program p;
  Handle x = p.input("x", meta({"2", "3"}));
  Handle h = of_input ? x : p.call("aten::neg", {v(x)}, meta({"2", "3"}));
  Handle flat = p.call("aten::reshape", {v(h), nums({6})}, meta({"6"}));
  if (view_is_written) p.call("aten::add_.Tensor", {v(flat), num(1)}, meta({"6"}));
  p.output(read_after ? h : flat);
  const InputSpec& spec = p.finish().inputs[0];
  EXPECT_EQ(print(**parse_module(print(p.finish()))), print(p.finish()));
  return spec.strides;
}

TEST(Functionalizer, StridesThatDecideAWriteAreAskedFor) {
  const Shape row_major{3, 1};
  EXPECT_EQ(needed_strides(true, true, false), row_major);  // the caller sees x
  EXPECT_EQ(needed_strides(true, false, true), row_major);  // neg() keeps the order of x
  EXPECT_EQ(needed_strides(true, false, false), Shape());   // nobody looks at the other one
  EXPECT_EQ(needed_strides(false, true, true), Shape());
}

TEST(Functionalizer, ReshapesThatAreAlwaysViewsAskForNothing) {
  Program p;
  Handle x = p.input("x", meta({"6", "1"}));
  Handle split = p.call("aten::reshape", {v(x), nums({2, 3})}, meta({"2", "3"}));
  p.call("aten::add_.Tensor", {v(split), num(1)}, meta({"2", "3"}));
  p.output(split);
  EXPECT_EQ(p.finish().inputs[0].strides, Shape());
}

// A copy at capture, as the example was turned: with a contiguous one, x would be written.
TEST(Functionalizer, StridesThatDecideACopyAreAskedFor) {
  Program p;
  Handle x = p.input("x", meta({"2", "3"}, DType::kF32, {"1", "2"}));
  Handle flat = p.call("aten::reshape", {v(x), nums({6})}, meta({"6"}));
  p.call("aten::add_.Tensor", {v(flat), num(1)}, meta({"6"}));
  p.output(flat);
  EXPECT_EQ(p.finish().inputs[0].strides, (Shape{1, 2}));
}

TEST(Functionalizer, DetachSharesCloneDoesNot) {
  Program p;
  Handle x = clone(p, p.input("x", meta({"2"})), meta({"2"}));
  Handle same = p.call("aten::detach", {v(x)}, meta({"2"}));
  Handle copy = clone(p, x, meta({"2"}));
  p.call("aten::add_.Tensor", {v(same), num(1)}, meta({"2"}));
  p.output(x);
  p.output(copy);
  const auto out = p.run({counting({2})});
  EXPECT_EQ(values(out[0]), (std::vector<double>{1, 2}));
  EXPECT_EQ(values(out[1]), (std::vector<double>{0, 1}));
}

TEST(Functionalizer, ContiguousCopiesOnlyWhatIsNotContiguous) {
  Program p;
  Handle x = clone(p, p.input("x", meta({"2", "2"})), meta({"2", "2"}));
  Handle same = p.call("aten::contiguous", {v(x)}, meta({"2", "2"}));
  p.call("aten::add_.Tensor", {v(same), num(10)}, meta({"2", "2"}));
  Handle turned = p.call("aten::t", {v(x)}, meta({"2", "2"}, DType::kF32, {"1", "2"}));
  Handle copy = p.call("aten::contiguous", {v(turned)}, meta({"2", "2"}));
  p.call("aten::zero_", {v(copy)}, meta({"2", "2"}));
  p.output(x);
  EXPECT_EQ(values(p.run({counting({2, 2})})[0]), (std::vector<double>{10, 11, 12, 13}));
}

TEST(Functionalizer, ReshapeOfATransposeIsACopy) {
  Program p;
  Handle x = clone(p, p.input("x", meta({"2", "3"})), meta({"2", "3"}));
  Handle flat = p.call("aten::reshape", {v(x), nums({-1})}, meta({"6"}));
  p.call("aten::add_.Tensor", {v(flat), num(1)}, meta({"6"}));
  Handle turned = p.call("aten::t", {v(x)}, meta({"3", "2"}, DType::kF32, {"1", "3"}));
  Handle copy = p.call("aten::reshape", {v(turned), nums({6})}, meta({"6"}));
  p.call("aten::zero_", {v(copy)}, meta({"6"}));
  p.output(x);
  p.output(copy);
  const auto out = p.run({counting({2, 3})});
  EXPECT_EQ(values(out[0]), (std::vector<double>{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(values(out[1]), (std::vector<double>(6, 0)));
}

TEST(Functionalizer, ToSharesUnlessItConvertsOrCopies) {
  Program p;
  Handle x = clone(p, p.input("x", meta({"2"})), meta({"2"}));
  Handle same = p.call("aten::to.dtype", {v(x), dtype(DType::kF32)}, meta({"2"}));
  Handle copy =
      p.call("aten::to.dtype", {v(x), dtype(DType::kF32), flag(false), flag(true)}, meta({"2"}));
  Handle wide = p.call("aten::to.dtype", {v(x), dtype(DType::kF64)}, meta({"2"}, DType::kF64));
  p.call("aten::add_.Tensor", {v(copy), num(100)}, meta({"2"}));
  p.call("aten::add_.Tensor", {v(wide), num(100)}, meta({"2"}, DType::kF64));
  p.call("aten::add_.Tensor", {v(same), num(1)}, meta({"2"}));
  p.output(x);
  EXPECT_EQ(values(p.run({counting({2})})[0]), (std::vector<double>{1, 2}));
}

TEST(Functionalizer, DropoutInEvalGivesItsInput) {
  Program p;
  Handle x = p.input("x", meta({"2"}));
  Handle y = p.call("aten::dropout_", {v(x), real(0.5), flag(false)}, meta({"2"}));
  p.output(p.call("aten::neg", {v(y)}, meta({"2"})));
  Module& module = p.finish();
  EXPECT_EQ(module.outputs.size(), 1u) << "nothing was written";
  EXPECT_EQ(p.count("neg"), 1);
}

TEST(Functionalizer, ViewsOfInputsAreAliases) {
  Program p;
  Handle x = p.input("x", meta({"4", "6"}));
  Handle t = p.call("aten::t", {v(x)}, meta({"6", "4"}, DType::kF32, {"1", "6"}));
  p.output(p.call("aten::slice.Tensor", {v(t), num(0), num(1), num(5), num(2)},
                  meta({"2", "4"}, DType::kF32, {"2", "6"})));
  p.output(p.call("aten::view", {v(x), nums({24})}, meta({"24"})));
  p.call("aten::add_.Tensor", {v(x), num(1)}, meta({"4", "6"}));
  Module& module = p.finish();
  EXPECT_EQ(module.outputs[0].kind, Kind::kViewOfInput);
  EXPECT_EQ(view_chain_to_text(module.outputs[0].view), "[permute(1, 0), slice(0, 1, 5, 2)]");
  EXPECT_EQ(module.outputs[1].kind, Kind::kViewOfInput);
  EXPECT_EQ(view_chain_to_text(module.outputs[1].view), "[reshape(24)]");
  EXPECT_EQ(module.outputs[2].kind, Kind::kWriteInput);
}

TEST(Functionalizer, OutputsOfOneFreshTensorAreAliases) {
  Program p;
  Handle y = p.call("aten::neg", {v(p.input("x", meta({"4", "6"})))}, meta({"4", "6"}));
  p.output(p.call("aten::t", {v(y)}, meta({"6", "4"}, DType::kF32, {"1", "6"})));
  p.output(y);
  p.output(p.call("aten::alias", {v(y)}, meta({"4", "6"})));
  p.output(clone(p, y, meta({"4", "6"})));
  Module& module = p.finish();
  EXPECT_EQ(module.outputs[0].kind, Kind::kViewOfOutput);
  EXPECT_EQ(module.outputs[0].target, 1);
  EXPECT_EQ(view_chain_to_text(module.outputs[0].view), "[permute(1, 0)]");
  EXPECT_EQ(module.outputs[1].kind, Kind::kResult);
  EXPECT_EQ(module.outputs[2].kind, Kind::kViewOfOutput);
  EXPECT_TRUE(module.outputs[2].view.empty());
  EXPECT_EQ(module.outputs[3].kind, Kind::kResult);
}

TEST(Functionalizer, AWrittenBufferThatComesBackIsTheState) {
  Program p;
  Handle x = p.input("x", meta({"2"}));
  Handle unwritten = p.weight("unwritten", f32({2}, {1, 2}), "buffer");
  Handle buffer = p.weight("buffer", f32({2}, {3, 4}), "buffer");
  p.call("aten::add_.Tensor", {v(buffer), v(x)}, meta({"2"}));
  p.output(buffer);
  p.output(unwritten);
  Module& module = p.finish();
  EXPECT_EQ(module.outputs[0].kind, Kind::kViewOfInput);
  EXPECT_EQ(module.outputs[0].target, 1);
  EXPECT_EQ(module.inputs[1].initial, "buffer");
  EXPECT_EQ(module.outputs[1].kind, Kind::kResult);
}

TEST(Functionalizer, AnInputThatComesBackIsAnAlias) {
  Program p;
  Handle x = p.input("x", meta({"2"}));
  p.output(p.call("aten::alias", {v(x)}, meta({"2"})));
  p.output(clone(p, x, meta({"2"})));
  EXPECT_EQ(p.finish().outputs[0].kind, Kind::kViewOfInput);
  EXPECT_EQ(p.finish().outputs[0].target, 0);
  EXPECT_EQ(p.finish().outputs[1].kind, Kind::kResult);
}

// ---- dtypes

TEST(Functionalizer, InPlaceKeepsTheDtype) {
  Program p;
  Handle x = clone(p, p.input("x", meta({"2"})), meta({"2"}));
  Handle wide = p.input("wide", meta({"2"}, DType::kF64));
  p.call("aten::mul_.Tensor", {v(x), v(wide)}, meta({"2"}));
  Handle less = p.call("aten::lt_.Scalar", {v(x), num(3)}, meta({"2"}));
  p.output(less);
  const auto out = p.run({f32({2}, {1, 2}), tensor_of<double>(DType::kF64, {2}, {2, 3})});
  EXPECT_EQ(out[0].dtype(), DType::kF32);
  EXPECT_EQ(values(out[0]), (std::vector<double>{1, 0}));
  EXPECT_TRUE(p.all_native());
}

TEST(Functionalizer, ViewsInPlaceRenameTheTensor) {
  Program p;
  Handle x = clone(p, p.input("x", meta({"2", "3"})), meta({"2", "3"}));
  p.call("aten::t_", {v(x)}, meta({"3", "2"}, DType::kF32, {"1", "3"}));
  p.output(p.call("aten::select.int", {v(x), num(0), num(2)}, meta({"2"}, DType::kF32, {"3"})));
  EXPECT_EQ(values(p.run({counting({2, 3})})[0]), (std::vector<double>{2, 5}));
}

// ---- calls that stay in PyTorch

TEST(Functionalizer, KeptCallThatWritesAnArgument) {
  Program p;
  Handle x = clone(p, p.input("x", meta({"4"})), meta({"4"}));
  Handle part = p.call("aten::slice.Tensor", {v(x), num(0), num(0), num(2)}, meta({"2"}));
  p.calls("mylib::scale_", {v(part), real(2)}, {}, "mylib::scale_(Tensor(a!) x, float by) -> ()");
  EXPECT_FALSE(p.last_record().native);
  EXPECT_EQ(p.last_record().code, "K1300");
  p.output(x);
  Module& module = p.finish();
  Node* kept = nullptr;
  for (const auto& node : module.main.nodes()) {
    if (node->is("aten.call")) kept = node.get();
  }
  ASSERT_NE(kept, nullptr);
  EXPECT_EQ(kept->get_string("effect"), "write");
  ASSERT_EQ(kept->num_results(), 1);
  // The new contents of the slice go back into x.
  Value* result = module.main.outputs()[0];
  ASSERT_NE(result->producer(), nullptr);
  EXPECT_TRUE(result->producer()->is("concat"));
  EXPECT_EQ(result->producer()->operand(0), kept->result());
}

TEST(Functionalizer, KeptCallThatReturnsWhatItWrote) {
  Program p;
  Handle x = clone(p, p.input("x", meta({"2"})), meta({"2"}));
  Handle y =
      p.call("aten::erfinv_", {v(x)}, meta({"2"}), "aten::erfinv_(Tensor(a!) self) -> Tensor(a!)");
  p.call("aten::add_.Tensor", {v(y), num(1)}, meta({"2"}));
  p.output(x);
  Module& module = p.finish();
  Value* result = module.main.outputs()[0];
  ASSERT_NE(result->producer(), nullptr);
  EXPECT_TRUE(result->producer()->is("add")) << "x must see what was written through y";
}

TEST(Functionalizer, UnknownViewsCannotBeWritten) {
  Program p;
  Handle x = clone(p, p.input("x", meta({"4"})), meta({"4"}));
  Handle y = p.call("aten::view.dtype", {v(x), dtype(DType::kI32)}, meta({"4"}, DType::kI32),
                    "aten::view.dtype(Tensor(a) self, ScalarType dtype) -> Tensor(a)");
  auto written = p.builder.call("aten::zero_", "", {v(x)}, {meta({"4"})}, {}, "");
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.status().code(), "K1304");
  auto through = p.builder.call("aten::zero_", "", {v(y)}, {meta({"4"}, DType::kI32)}, {}, "");
  ASSERT_FALSE(through.ok());
  EXPECT_EQ(through.status().code(), "K1304");
}

TEST(Functionalizer, RepeatedElementsCannotBeWritten) {
  Program p;
  Handle x = p.input("x", meta({"1"}));
  Handle y = p.call("aten::expand", {v(x), nums({3})}, meta({"3"}, DType::kF32, {"0"}));
  auto written = p.builder.call("aten::zero_", "", {v(y)}, {meta({"3"})}, {}, "");
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.status().code(), "K1304");
}

TEST(Functionalizer, AsStridedReadsWholeContiguousMemoryOnly) {
  Program p;
  Handle x = clone(p, p.input("x", meta({"6"})), meta({"6"}));
  Handle windows = p.call("aten::as_strided", {v(x), nums({4, 2}), nums({1, 2}), num(0)},
                          meta({"4", "2"}, DType::kF32, {"1", "2"}));
  p.output(windows);
  Handle part = p.call("aten::slice.Tensor", {v(x), num(0), num(1), num(6)}, meta({"5"}));
  auto outside = p.builder.call("aten::as_strided", "", {v(part), nums({2}), nums({1}), num(0)},
                                {meta({"2"})}, {}, "");
  ASSERT_FALSE(outside.ok());
  EXPECT_EQ(outside.status().code(), "K1306");
  EXPECT_EQ(values(p.run({counting({6})})[0]), (std::vector<double>{0, 2, 1, 3, 2, 4, 3, 5}));
}

// ---- mutations that the front end names

TEST(Functionalizer, NamedMutations) {
  Program p;
  Handle x = p.input("x", meta({"2"}));
  p.weight("count", f32({2}, {1, 1}), "buffer");
  Handle next = p.call("aten::add.Tensor", {v(x), num(1)}, meta({"2"}));
  EXPECT_TRUE(p.builder.mutates_buffer("count", next).ok());
  EXPECT_TRUE(p.builder.mutates_input("x", next).ok());
  EXPECT_EQ(p.builder.mutates_input("nobody", next).code(), "K1127");
  EXPECT_EQ(p.builder.mutates_buffer("nobody", next).code(), "K1127");
  Module& module = p.finish();
  ASSERT_EQ(module.outputs.size(), 2u);
  EXPECT_EQ(module.outputs[0].target, 0);
  EXPECT_EQ(module.outputs[1].target, 1);
  const auto out = p.run({f32({2}, {4, 5}), f32({2}, {1, 1})});
  EXPECT_EQ(values(out[0]), (std::vector<double>{5, 6}));
  EXPECT_EQ(values(out[1]), (std::vector<double>{5, 6}));
}

TEST(Functionalizer, BuffersThatExchangeTheirContents) {
  Program p;
  const Handle a = p.weight("a", f32({2}, {1, 2}), "buffer");
  const Handle b = p.weight("b", f32({2}, {3, 4}), "constant");
  const Handle was_a = clone(p, a, meta({"2"})), was_b = clone(p, b, meta({"2"}));
  EXPECT_FALSE(p.builder.may_share_memory(a, was_a));
  EXPECT_FALSE(p.builder.is_written(b));
  EXPECT_TRUE(p.builder.mutates_buffer("a", was_b).ok());
  EXPECT_TRUE(p.builder.mutates_buffer("b", was_a).ok());
  EXPECT_TRUE(p.builder.is_written(b));
  Module& module = p.finish();
  ASSERT_EQ(module.weights.size(), 2u);
  // A constant that is written has no value that is fixed.
  EXPECT_EQ(module.weights[1].kind, WeightKind::kBuffer);
  EXPECT_TRUE(module.weights[1].content_hash.empty());
  const auto out = p.run({f32({2}, {5, 6}), f32({2}, {7, 8})});
  EXPECT_EQ(values(out[0]), (std::vector<double>{7, 8}));
  EXPECT_EQ(values(out[1]), (std::vector<double>{5, 6}));
}

TEST(Functionalizer, ARestartForgetsAllButWhatStaysInPyTorch) {
  Program p;
  p.builder.keep_in_torch({"aten::neg"}, {});
  p.call("aten::neg", {v(p.input("x", meta({"2"})))}, meta({"2"}));
  p.builder.restart();
  EXPECT_TRUE(p.builder.records().empty());
  const Handle y = p.input("y", meta({"3"}));
  EXPECT_TRUE(
      p.builder.may_share_memory(y, p.call("aten::view", {v(y), nums({3, 1})}, meta({"3", "1"}))));
  p.output(p.call("aten::neg", {v(y)}, meta({"3"})));
  EXPECT_EQ(p.last_record().code, "K1310");
  EXPECT_EQ(p.finish().inputs.size(), 1u);
}

}  // namespace
}  // namespace kiln::test
