#include "aten/capture_hash.h"

namespace kiln {
namespace {

// What follows in the stream; every record begins with one, so that no two streams run together to
// the same bytes.
enum Record : int64_t {
  kSymbol = 1,
  kInput,
  kScalarInput,
  kWeight,
  kCall,
  kOutput,
  kMutatesInput,
  kMutatesBuffer,
  kKeepInTorch,
  kCondition,
  kDevice,
};

int64_t number(DType dtype) { return static_cast<int64_t>(dtype); }

}  // namespace

void CaptureHash::add_texts(const std::vector<std::string>& texts) {
  hasher_.add_int(static_cast<int64_t>(texts.size()));
  for (const std::string& text : texts) hasher_.add_text(text);
}

// The bindings name every member: with one more they do not compile, and it is added here.
void CaptureHash::add_meta(const CaptureMeta& meta) {
  const auto& [dtype, dims, strides, opaque, scalar] = meta;
  hasher_.add_int(number(dtype));
  add_texts(dims);
  add_texts(strides);
  hasher_.add_text(opaque);
  hasher_.add_int(scalar ? *scalar : -1);
}

void CaptureHash::add_arg(const CaptureArg& arg) {
  const auto& [value] = arg;
  hasher_.add_int(static_cast<int64_t>(value.index()));
  struct Visitor {
    CaptureHash& self;
    Hasher128& hasher;
    void operator()(const CaptureArg::None&) {}
    void operator()(bool flag) { hasher.add_int(flag ? 1 : 0); }
    void operator()(int64_t integer) { hasher.add_int(integer); }
    void operator()(double real) { hasher.add_double(real); }
    void operator()(const std::string& text) { hasher.add_text(text); }
    void operator()(const CaptureArg::Value& value) { hasher.add_int(value.handle); }
    void operator()(const CaptureArg::Expr& expr) { hasher.add_text(expr.text); }
    void operator()(DType dtype) { hasher.add_int(number(dtype)); }
    void operator()(const Device& device) {
      const auto& [kind, index] = device;
      hasher.add_int(static_cast<int64_t>(kind)).add_int(index);
    }
    void operator()(const CaptureArg::MemoryFormat& format) { hasher.add_text(format.name); }
    void operator()(const CaptureArg::Layout& layout) { hasher.add_text(layout.name); }
    void operator()(const CaptureArg::List& list) {
      hasher.add_int(static_cast<int64_t>(list.size()));
      for (const CaptureArg& item : list) self.add_arg(item);
    }
  };
  std::visit(Visitor{*this, hasher_}, value);
}

void CaptureHash::symbol(std::string_view name, int64_t min, int64_t max) {
  hasher_.add_int(kSymbol).add_text(name).add_int(min).add_int(max);
}

void CaptureHash::condition(std::string_view relation, std::string_view left,
                            std::string_view right, std::string_view text) {
  hasher_.add_int(kCondition).add_text(relation).add_text(left).add_text(right).add_text(text);
}

void CaptureHash::input(std::string_view name, const CaptureMeta& meta) {
  hasher_.add_int(kInput).add_text(name);
  add_meta(meta);
}

void CaptureHash::scalar_input(std::string_view name, const CaptureMeta& meta,
                               std::string_view expr) {
  hasher_.add_int(kScalarInput).add_text(name);
  add_meta(meta);
  hasher_.add_text(expr);
}

void CaptureHash::weight(std::string_view name, const CaptureWeight& weight,
                         std::string_view kind, const std::vector<int32_t>& sharing) {
  const auto& [dtype, shape, strides, data, owner] = weight;
  hasher_.add_int(kWeight).add_text(name).add_text(kind).add_int(number(dtype));
  for (const auto* extents : {&shape, &strides}) {
    hasher_.add_int(static_cast<int64_t>(extents->size()));
    for (int64_t extent : *extents) hasher_.add_int(extent);
  }
  hasher_.add_int(static_cast<int64_t>(sharing.size()));
  for (int32_t other : sharing) hasher_.add_int(other);
}

void CaptureHash::call(std::string_view name, std::string_view overload,
                       const std::vector<CaptureArg>& args,
                       const std::vector<CaptureMeta>& results, const CaptureOrigin& origin,
                       std::string_view schema) {
  hasher_.add_int(kCall).add_text(name).add_text(overload);
  hasher_.add_int(static_cast<int64_t>(args.size()));
  for (const CaptureArg& arg : args) add_arg(arg);
  hasher_.add_int(static_cast<int64_t>(results.size()));
  for (const CaptureMeta& meta : results) add_meta(meta);
  const auto& [module_path, location] = origin;
  hasher_.add_text(module_path).add_text(location).add_text(schema);
}

void CaptureHash::output(int32_t value, std::string_view name) {
  hasher_.add_int(kOutput).add_int(value).add_text(name);
}

void CaptureHash::mutates_input(std::string_view target, int32_t value) {
  hasher_.add_int(kMutatesInput).add_text(target).add_int(value);
}

void CaptureHash::mutates_buffer(std::string_view target, int32_t value) {
  hasher_.add_int(kMutatesBuffer).add_text(target).add_int(value);
}

void CaptureHash::device(DeviceKind kind) {
  hasher_.add_int(kDevice).add_int(static_cast<int64_t>(kind));
}

void CaptureHash::keep_in_torch(const std::vector<std::string>& ops,
                                const std::vector<std::string>& modules) {
  hasher_.add_int(kKeepInTorch);
  add_texts(ops);
  add_texts(modules);
}

}  // namespace kiln
