#include "backends/cpu/runtime/dnnl_reorder.h"

#include <array>
#include <utility>

#include "backends/cpu/runtime/dnnl_api.h"
#include "backends/cpu/runtime/dnnl_table.h"
#include "base/check.h"
#include "base/parallel_for.h"

namespace kiln {
namespace {

Result<std::unique_ptr<DnnlPrimitive>> make(const DnnlLayout& from, const DnnlLayout& to,
                                            bool take_reference) {
  KILN_CHECK(!from.empty() && !to.empty());
  KILN_ASSIGN_OR_RETURN(const DnnlApi* api, dnnl_api());
  KILN_ASSIGN_OR_RETURN(const DnnlAttr attr, make_dnnl_attr({}, {}, {}));
  const DnnlThreads threads(api, num_threads());
  dnnl_primitive_desc_t raw = nullptr;
  if (int s = api->dnnl_reorder_primitive_desc_create(&raw, from.get(), api->engine, to.get(),
                                                      api->engine, attr.get());
      s != dnnl_success) {
    return dnnl_failure(s, "copy from " + from.to_string() + " to " + to.to_string());
  }
  DnnlPrimitiveDesc desc(raw);
  if (const std::string name = dnnl_implementation(desc);
      !take_reference && is_dnnl_reference(name)) {
    return Status::error("K4602", "oneDNN has only its reference for this copy: " + name + ", " +
                                      from.to_string() + " to " + to.to_string());
  }
  return DnnlPrimitive::create(std::move(desc), {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}});
}

}  // namespace

Result<std::unique_ptr<DnnlReorder>> DnnlReorder::create(const DnnlLayout& from,
                                                         const DnnlLayout& to) {
  KILN_ASSIGN_OR_RETURN(std::unique_ptr<DnnlPrimitive> primitive, make(from, to, false));
  return std::unique_ptr<DnnlReorder>(new DnnlReorder(std::move(primitive)));
}

Status DnnlReorder::run(const void* from, void* to, void* scratchpad) const {
  const std::array<const void*, 2> pointers{from, to};
  return primitive_->run(pointers, scratchpad);
}

Status dnnl_copy(const DnnlLayout& from, const void* source, const DnnlLayout& to, void* target) {
  KILN_ASSIGN_OR_RETURN(std::unique_ptr<DnnlPrimitive> primitive, make(from, to, true));
  constexpr size_t kAlign = 64;
  const size_t bytes = primitive->scratchpad_bytes();
  std::unique_ptr<std::byte[]> scratchpad(bytes ? new std::byte[bytes + kAlign] : nullptr);
  void* aligned = scratchpad.get();
  size_t space = bytes + kAlign;
  if (bytes > 0) std::align(kAlign, bytes, aligned, space);
  const std::array<const void*, 2> pointers{source, target};
  return primitive->run(pointers, aligned);
}

}  // namespace kiln
