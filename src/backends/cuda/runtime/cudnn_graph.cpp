#include "backends/cuda/runtime/cudnn_graph.h"

#include <algorithm>
#include <array>

#include "base/check.h"
#include "base/json.h"
#include "base/status.h"

namespace kiln::cuda {
namespace {

constexpr int64_t kMaxEngines = 64;  // of one heuristics mode
constexpr int64_t kMaxKnobs = 64;
constexpr size_t kFirstDescribable = 90800;  // version

// Limits of a device, as cuDNN writes them: those that all data-centre GPUs of a capability share.
Json device_json(int sm, int multiprocessors) {
  struct Known {
    int sm, multiprocessors, l2_bytes, shared_optin, threads_per_sm;
    const char* name;
  };
  constexpr Known kKnown[] = {
      {80, 108, 40 << 20, 166912, 2048, "NVIDIA A100-SXM4-80GB"},
      {90, 132, 50 << 20, 232448, 2048, "NVIDIA H100 80GB HBM3"},
      {100, 148, 126 << 20, 232448, 2048, "NVIDIA B200"},
  };
  Known device = kKnown[0];
  for (const Known& known : kKnown) {
    if (known.sm <= sm) device = known;
  }
  if (multiprocessors > 0) device.multiprocessors = multiprocessors;
  Json json = Json::object();
  json.set("deviceName", device.name);
  json.set("deviceVer", sm * 10);
  json.set("driverVer", 13000);
  json.set("cudaDeviceId", 0);
  json.set("pciDeviceId", 0);
  json.set("multiProcessorCount", device.multiprocessors);
  json.set("smClockRateKHz", 1980000);
  json.set("memClockRateKHz", 2619000);
  json.set("l2CacheSize", device.l2_bytes);
  json.set("totalGlobalMem", int64_t{80} << 30);
  json.set("warpSize", 32);
  json.set("regsPerBlock", 65536);
  json.set("maxRegistersPerSM", 65536);
  json.set("maxSharedMemoryPerBlock", 49152);
  json.set("maxSharedMemoryPerBlockOptin", device.shared_optin);
  json.set("reservedSharedMemoryPerBlock", 1024);
  json.set("maxCtasPerSM", 32);
  json.set("maxThreadsPerBlock", 1024);
  json.set("maxThreadsPerSM", device.threads_per_sm);
  json.set("isTccDriver", 0);
  json.set("supportCoopLaunch", 1);
  json.set("maxGridSize", std::vector<int64_t>{2147483647, 65535, 65535});
  json.set("maxBlockSize", std::vector<int64_t>{1024, 1024, 64});
  return json;
}

bool is_device_error(CudnnStatus status) { return status < 3000 || status >= 4000; }

}  // namespace

Result<int> cudnn_data_type(DType dtype) {
  switch (dtype) {
    case DType::kF32: return kCudnnFloat;
    case DType::kF64: return kCudnnDouble;
    case DType::kF16: return kCudnnHalf;
    case DType::kBF16: return kCudnnBfloat16;
    case DType::kI32: return kCudnnInt32;
    case DType::kBool: return kCudnnBoolean;
    default: break;
  }
  return Status::error("K3212", "cudnn step: dtype " + std::string(dtype_name(dtype)));
}

Result<CudnnObject> CudnnObject::make(const Cudnn& library, int type) {
  CudnnObject object;
  KILN_CUDNN_RETURN_IF_ERROR(library, cudnnBackendCreateDescriptor, type, &object.descriptor_);
  object.library_ = &library;
  return object;
}

CudnnObject::CudnnObject(CudnnObject&& other) noexcept
    : library_(std::exchange(other.library_, nullptr)),
      descriptor_(std::exchange(other.descriptor_, nullptr)) {}

CudnnObject& CudnnObject::operator=(CudnnObject&& other) noexcept {
  std::swap(library_, other.library_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

CudnnObject::~CudnnObject() {
  if (descriptor_ != nullptr) library_->cudnnBackendDestroyDescriptor(descriptor_);
}

Status CudnnObject::set(int attribute, int type, int64_t count, const void* values) {
  const CudnnStatus status =
      library_->cudnnBackendSetAttribute(descriptor_, attribute, type, count, values);
  if (status == 0) return {};
  return check(*library_, status,
               ("cudnnBackendSetAttribute " + std::to_string(attribute)).c_str());
}

Status CudnnObject::set(int attribute, const std::vector<int64_t>& values) {
  return set(attribute, kCudnnTypeInt64, static_cast<int64_t>(values.size()), values.data());
}

Status CudnnObject::set(int attribute, int type, const CudnnObject& value) {
  const CudnnDescriptor descriptor = value.get();
  return set(attribute, type, 1, &descriptor);
}

Status CudnnObject::finalize() {
  return check(*library_, library_->cudnnBackendFinalize(descriptor_), "cudnnBackendFinalize");
}

Result<CudnnDevice> CudnnDevice::described(const Cudnn& library, int sm, int multiprocessors) {
  if (library.cudnnGetVersion() < kFirstDescribable) {
    return Status::error("K5308", "cuDNN before 9.8 takes no description of a device");
  }
  KILN_ASSIGN_OR_RETURN(CudnnObject object, CudnnObject::make(library, kCudnnDeviceProperties));
  const std::string text = device_json(sm, multiprocessors).dump();
  KILN_RETURN_IF_ERROR(object.set(kCudnnDevicePropertiesJson, kCudnnTypeChar,
                                  static_cast<int64_t>(text.size()), text.data()));
  KILN_RETURN_IF_ERROR(object.finalize());
  CudnnDevice device;
  device.properties = std::make_shared<CudnnObject>(std::move(object));
  return device;
}

Result<int64_t> CudnnGraph::tensor(const CudnnTensorDesc& desc, std::optional<float> number) {
  KILN_ASSIGN_OR_RETURN(const int type, cudnn_data_type(desc.dtype));
  KILN_ASSIGN_OR_RETURN(CudnnObject object, CudnnObject::make(*library_, kCudnnTensor));
  const int64_t id = static_cast<int64_t>(tensors_.size()) + 1;
  KILN_RETURN_IF_ERROR(object.set(kCudnnTensorId, {id}));
  KILN_RETURN_IF_ERROR(object.set(kCudnnTensorDataType, kCudnnTypeDataType, 1, &type));
  KILN_RETURN_IF_ERROR(object.set(kCudnnTensorDims, desc.dims));
  KILN_RETURN_IF_ERROR(object.set(kCudnnTensorStrides, desc.strides));
  KILN_RETURN_IF_ERROR(object.set(kCudnnTensorAlignment, {desc.alignment}));
  if (desc.is_virtual) {
    const bool yes = true;
    KILN_RETURN_IF_ERROR(object.set(kCudnnTensorIsVirtual, kCudnnTypeBoolean, 1, &yes));
  }
  if (number) {
    const bool yes = true;
    KILN_RETURN_IF_ERROR(object.set(kCudnnTensorIsByValue, kCudnnTypeBoolean, 1, &yes));
    numbers_.emplace_back(id, *number);
  }
  KILN_RETURN_IF_ERROR(object.finalize());
  tensors_.push_back(std::move(object));
  return id;
}

Status CudnnGraph::convolution(const Convolution& c, bool transposed, int64_t x, int64_t w,
                               int64_t y) {
  KILN_ASSIGN_OR_RETURN(const int math, cudnn_data_type(c.math));
  const int mode = kCudnnCrossCorrelation;
  KILN_ASSIGN_OR_RETURN(CudnnObject desc, CudnnObject::make(*library_, kCudnnConvolution));
  KILN_RETURN_IF_ERROR(
      desc.set(kCudnnConvolutionSpatialDims, {static_cast<int64_t>(c.stride.size())}));
  KILN_RETURN_IF_ERROR(desc.set(kCudnnConvolutionMathType, kCudnnTypeDataType, 1, &math));
  KILN_RETURN_IF_ERROR(desc.set(kCudnnConvolutionMode, kCudnnTypeConvolutionMode, 1, &mode));
  KILN_RETURN_IF_ERROR(desc.set(kCudnnConvolutionStrides, c.stride));
  KILN_RETURN_IF_ERROR(desc.set(kCudnnConvolutionDilations, c.dilation));
  KILN_RETURN_IF_ERROR(desc.set(kCudnnConvolutionPrePaddings, c.padding_low));
  KILN_RETURN_IF_ERROR(desc.set(kCudnnConvolutionPostPaddings, c.padding_high));
  KILN_RETURN_IF_ERROR(desc.finalize());
  KILN_ASSIGN_OR_RETURN(
      CudnnObject operation,
      CudnnObject::make(*library_,
                        transposed ? kCudnnConvolutionBackwardData : kCudnnConvolutionForward));
  auto tensor = [&](int64_t id) -> const CudnnObject& {
    return tensors_[static_cast<size_t>(id - 1)];
  };
  const int roles[2][3] = {{kCudnnForwardX, kCudnnForwardW, kCudnnForwardY},
                           {kCudnnBackwardDataDy, kCudnnBackwardDataW, kCudnnBackwardDataDx}};
  const auto& role = roles[transposed ? 1 : 0];
  KILN_RETURN_IF_ERROR(operation.set(role[0], kCudnnTypeDescriptor, tensor(x)));
  KILN_RETURN_IF_ERROR(operation.set(role[1], kCudnnTypeDescriptor, tensor(w)));
  KILN_RETURN_IF_ERROR(operation.set(role[2], kCudnnTypeDescriptor, tensor(y)));
  KILN_RETURN_IF_ERROR(
      operation.set(transposed ? kCudnnBackwardDataConvolution : kCudnnForwardConvolution,
                    kCudnnTypeDescriptor, desc));
  const double one = 1, zero = 0;
  const float one32 = 1, zero32 = 0;
  const bool f64 = c.math == DType::kF64;
  const int type = f64 ? kCudnnTypeDouble : kCudnnTypeFloat;
  KILN_RETURN_IF_ERROR(operation.set(transposed ? kCudnnBackwardDataAlpha : kCudnnForwardAlpha,
                                     type, 1, f64 ? static_cast<const void*>(&one) : &one32));
  KILN_RETURN_IF_ERROR(operation.set(transposed ? kCudnnBackwardDataBeta : kCudnnForwardBeta,
                                     type, 1, f64 ? static_cast<const void*>(&zero) : &zero32));
  KILN_RETURN_IF_ERROR(operation.finalize());
  parts_.push_back(std::move(desc));
  operations_.push_back(std::move(operation));
  return {};
}

Status CudnnGraph::add(int type,
                       std::initializer_list<std::pair<int, const CudnnObject*>> roles) {
  KILN_ASSIGN_OR_RETURN(CudnnObject operation, CudnnObject::make(*library_, type));
  for (const auto& [role, object] : roles) {
    if (object != nullptr) {
      KILN_RETURN_IF_ERROR(operation.set(role, kCudnnTypeDescriptor, *object));
    }
  }
  KILN_RETURN_IF_ERROR(operation.finalize());
  operations_.push_back(std::move(operation));
  return {};
}

Status CudnnGraph::pointwise(const Pointwise& p, int64_t x, int64_t b, int64_t y, int64_t t) {
  KILN_ASSIGN_OR_RETURN(const int math, cudnn_data_type(p.math));
  KILN_ASSIGN_OR_RETURN(CudnnObject desc, CudnnObject::make(*library_, kCudnnPointwise));
  KILN_RETURN_IF_ERROR(desc.set(kCudnnPointwiseMode, kCudnnTypePointwiseMode, 1, &p.mode));
  KILN_RETURN_IF_ERROR(desc.set(kCudnnPointwiseMathType, kCudnnTypeDataType, 1, &math));
  if (p.mode == kCudnnRelu) {
    KILN_RETURN_IF_ERROR(
        desc.set(kCudnnPointwiseReluLowerClip, kCudnnTypeDouble, 1, &p.lower_clip));
    if (p.has_upper_clip) {
      KILN_RETURN_IF_ERROR(
          desc.set(kCudnnPointwiseReluUpperClip, kCudnnTypeDouble, 1, &p.upper_clip));
    }
    KILN_RETURN_IF_ERROR(desc.set(kCudnnPointwiseReluSlope, kCudnnTypeDouble, 1, &p.slope));
  }
  if (p.mode == kCudnnElu) {
    KILN_RETURN_IF_ERROR(desc.set(kCudnnPointwiseEluAlpha, kCudnnTypeDouble, 1, &p.alpha));
  }
  if (p.axis >= 0) KILN_RETURN_IF_ERROR(desc.set(kCudnnPointwiseAxis, {p.axis}));
  KILN_RETURN_IF_ERROR(desc.finalize());
  KILN_RETURN_IF_ERROR(add(kCudnnOperationPointwise,
                           {{kCudnnOperationPointwiseDescriptor, &desc},
                            {kCudnnOperationPointwiseX, &tensor_of(x)},
                            {kCudnnOperationPointwiseB, b > 0 ? &tensor_of(b) : nullptr},
                            {kCudnnOperationPointwiseT, t > 0 ? &tensor_of(t) : nullptr},
                            {kCudnnOperationPointwiseY, &tensor_of(y)}}));
  parts_.push_back(std::move(desc));
  return {};
}

Status CudnnGraph::matmul(int64_t a, int64_t b, int64_t c) {
  const int math = kCudnnFloat;
  KILN_ASSIGN_OR_RETURN(CudnnObject desc, CudnnObject::make(*library_, kCudnnMatmul));
  KILN_RETURN_IF_ERROR(desc.set(kCudnnMatmulMathType, kCudnnTypeDataType, 1, &math));
  KILN_RETURN_IF_ERROR(desc.finalize());
  KILN_RETURN_IF_ERROR(add(kCudnnOperationMatmul, {{kCudnnOperationMatmulA, &tensor_of(a)},
                                                   {kCudnnOperationMatmulB, &tensor_of(b)},
                                                   {kCudnnOperationMatmulC, &tensor_of(c)},
                                                   {kCudnnOperationMatmulDescriptor, &desc}}));
  parts_.push_back(std::move(desc));
  return {};
}

Status CudnnGraph::reduction(CudnnReduce mode, int64_t x, int64_t y) {
  const int math = kCudnnFloat, operation = mode;
  KILN_ASSIGN_OR_RETURN(CudnnObject desc, CudnnObject::make(*library_, kCudnnReduction));
  KILN_RETURN_IF_ERROR(desc.set(kCudnnReductionMathType, kCudnnTypeDataType, 1, &math));
  KILN_RETURN_IF_ERROR(desc.set(kCudnnReductionMode, kCudnnTypeReduction, 1, &operation));
  KILN_RETURN_IF_ERROR(desc.finalize());
  KILN_RETURN_IF_ERROR(
      add(kCudnnOperationReduction, {{kCudnnOperationReductionDescriptor, &desc},
                                     {kCudnnOperationReductionX, &tensor_of(x)},
                                     {kCudnnOperationReductionY, &tensor_of(y)}}));
  parts_.push_back(std::move(desc));
  return {};
}

Status CudnnGraph::finish(const CudnnDevice& device) {
  KILN_ASSIGN_OR_RETURN(graph_, CudnnObject::make(*library_, kCudnnOperationGraph));
  if (device.handle != nullptr) {
    KILN_RETURN_IF_ERROR(graph_.set(kCudnnGraphHandle, kCudnnTypeHandle, 1, &device.handle));
  }
  std::vector<CudnnDescriptor> operations;
  for (const CudnnObject& operation : operations_) operations.push_back(operation.get());
  KILN_RETURN_IF_ERROR(graph_.set(kCudnnGraphOperations, kCudnnTypeDescriptor,
                                  static_cast<int64_t>(operations.size()), operations.data()));
  return graph_.finalize();
}

Result<std::string> CudnnGraph::name_of(CudnnObject& config, const CudnnArithmetic& arithmetic,
                                        bool* allowed) const {
  const Cudnn& library = *library_;
  KILN_ASSIGN_OR_RETURN(CudnnObject engine, CudnnObject::make(library, kCudnnEngine));
  CudnnDescriptor descriptor = engine.get();
  int64_t count = 0;
  KILN_CUDNN_RETURN_IF_ERROR(library, cudnnBackendGetAttribute, config.get(),
                             kCudnnEngineConfigEngine, kCudnnTypeDescriptor, 1, &count,
                             &descriptor);
  int64_t index = -1;
  KILN_CUDNN_RETURN_IF_ERROR(library, cudnnBackendGetAttribute, engine.get(),
                             kCudnnEngineGlobalIndex, kCudnnTypeInt64, 1, &count, &index);
  std::array<int, kCudnnNoteCount> notes{};
  KILN_CUDNN_RETURN_IF_ERROR(library, cudnnBackendGetAttribute, engine.get(),
                             kCudnnEngineNumericalNotes, kCudnnTypeNumericalNote, kCudnnNoteCount,
                             &count, notes.data());
  *allowed = true;
  for (int64_t i = 0; i < std::min<int64_t>(count, kCudnnNoteCount); ++i) {
    const int note = notes[static_cast<size_t>(i)];
    const bool bad = note == kCudnnNoteDownConvertInputs ||
                     note == kCudnnNoteReducedPrecisionReduction ||
                     note == kCudnnNoteNondeterministic ||
                     (note == kCudnnNoteTensorCore && !arithmetic.tensor_cores);
    if (bad) *allowed = false;
  }
  return "eng" + std::to_string(index);
}

Status CudnnGraph::find_engines(const CudnnDevice& device, const CudnnArithmetic& arithmetic,
                                bool all) {
  const Cudnn& library = *library_;
  engines_.clear();
  Status last;
  for (const int mode : {kCudnnHeuristicA, kCudnnHeuristicB, kCudnnHeuristicFallback}) {
    if (!all && !engines_.empty()) break;
    KILN_ASSIGN_OR_RETURN(CudnnObject heuristics,
                          CudnnObject::make(library, kCudnnEngineHeuristics));
    KILN_RETURN_IF_ERROR(heuristics.set(kCudnnHeuristicGraph, kCudnnTypeDescriptor, graph_));
    KILN_RETURN_IF_ERROR(heuristics.set(kCudnnHeuristicMode, kCudnnTypeHeuristicMode, 1, &mode));
    if (device.properties != nullptr) {
      KILN_RETURN_IF_ERROR(
          heuristics.set(kCudnnHeuristicDevice, kCudnnTypeDescriptor, *device.properties));
    }
    const CudnnStatus finalized = library.cudnnBackendFinalize(heuristics.get());
    if (finalized != 0) {  // no answer of this mode
      last = check(library, finalized, "cudnnBackendFinalize of heuristics");
      if (is_device_error(finalized)) return last;
      continue;
    }
    int64_t count = 0;
    KILN_CUDNN_RETURN_IF_ERROR(library, cudnnBackendGetAttribute, heuristics.get(),
                               kCudnnHeuristicResults, kCudnnTypeDescriptor, 0, &count, nullptr);
    count = std::clamp<int64_t>(count, 0, kMaxEngines);
    std::vector<CudnnObject> configs;
    std::vector<CudnnDescriptor> descriptors;
    for (int64_t i = 0; i < count; ++i) {
      KILN_ASSIGN_OR_RETURN(CudnnObject config, CudnnObject::make(library, kCudnnEngineConfig));
      descriptors.push_back(config.get());
      configs.push_back(std::move(config));
    }
    if (count == 0) continue;
    int64_t given = 0;
    KILN_CUDNN_RETURN_IF_ERROR(library, cudnnBackendGetAttribute, heuristics.get(),
                               kCudnnHeuristicResults, kCudnnTypeDescriptor, count, &given,
                               descriptors.data());
    for (size_t i = 0; i < static_cast<size_t>(std::min(count, given)); ++i) {
      bool allowed = false;
      KILN_ASSIGN_OR_RETURN(std::string name, name_of(configs[i], arithmetic, &allowed));
      if (!allowed) continue;
      // Configurations of one engine differ in their knobs; their place in the list names them.
      int same = 0;
      for (const Engine& engine : engines_) same += engine.name.starts_with(name + ".") ? 1 : 0;
      engines_.push_back({std::move(configs[i]), name + "." + std::to_string(same)});
    }
  }
  if (!engines_.empty()) return {};
  if (!last.ok()) return last;
  return Status::error("K5308", "cuDNN has no engine that computes as precisely as asked");
}

Result<std::unique_ptr<CudnnPlan>> CudnnGraph::plan(const CudnnDevice& device,
                                                    size_t engine) const {
  const Cudnn& library = *library_;
  std::unique_ptr<CudnnPlan> plan(new CudnnPlan);
  KILN_ASSIGN_OR_RETURN(plan->plan_, CudnnObject::make(library, kCudnnExecutionPlan));
  if (device.handle != nullptr) {
    KILN_RETURN_IF_ERROR(plan->plan_.set(kCudnnPlanHandle, kCudnnTypeHandle, 1, &device.handle));
  } else {
    KILN_RETURN_IF_ERROR(
        plan->plan_.set(kCudnnPlanDevice, kCudnnTypeDescriptor, *device.properties));
  }
  KILN_RETURN_IF_ERROR(
      plan->plan_.set(kCudnnPlanEngineConfig, kCudnnTypeDescriptor, engines_[engine].config));
  KILN_RETURN_IF_ERROR(plan->plan_.finalize());
  int64_t count = 0, bytes = 0;
  KILN_CUDNN_RETURN_IF_ERROR(library, cudnnBackendGetAttribute, plan->plan_.get(),
                             kCudnnPlanWorkspaceBytes, kCudnnTypeInt64, 1, &count, &bytes);
  plan->workspace_bytes_ = static_cast<size_t>(std::max<int64_t>(bytes, 0));
  plan->engine_ = engines_[engine].name;
  plan->numbers_ = numbers_;
  return plan;
}

Result<std::vector<std::unique_ptr<CudnnPlan>>> CudnnGraph::fitting_plans(
    const CudnnDevice& device, const CudnnArithmetic& arithmetic, int64_t workspace_bytes,
    Wanted wanted) {
  std::vector<std::unique_ptr<CudnnPlan>> plans;
  std::unique_ptr<CudnnPlan> smallest;  // of those that do not fit
  Status last;
  // Asking every mode takes longer, so that is only done where the first does not do.
  for (const bool every_mode : {wanted.all_modes, true}) {
    KILN_RETURN_IF_ERROR(find_engines(device, arithmetic, every_mode));
    for (size_t i = 0; i < num_engines(); ++i) {
      auto made = plan(device, i);
      if (!made.ok()) {
        last = made.status();
        continue;
      }
      const size_t bytes = (*made)->workspace_bytes();
      if (bytes <= static_cast<size_t>(workspace_bytes)) {
        plans.push_back(std::move(made).value());
        if (!wanted.all_plans) return plans;
      } else if (smallest == nullptr || bytes < smallest->workspace_bytes()) {
        smallest = std::move(made).value();
      }
    }
    if (every_mode || smallest != nullptr || !plans.empty()) break;
  }
  if (plans.empty() && smallest != nullptr) plans.push_back(std::move(smallest));
  if (plans.empty()) return last;
  return plans;
}

Status CudnnPlan::run(CudnnHandle handle, CUstream stream, std::span<const int64_t> ids,
                      std::span<void* const> memory, void* workspace) const {
  const Cudnn& library = plan_.library();
  KILN_CHECK_EQ(ids.size(), memory.size());
  std::array<int64_t, 2 * kMaxTensors> all_ids{};
  std::array<void*, 2 * kMaxTensors> pointers{};
  size_t n = 0;
  KILN_CHECK_LE(ids.size(), kMaxTensors);
  KILN_CHECK_LE(numbers_.size(), kMaxTensors);
  for (; n < ids.size(); ++n) {
    all_ids[n] = ids[n];
    pointers[n] = memory[n];
  }
  for (const auto& [id, number] : numbers_) {
    all_ids[n] = id;
    pointers[n++] = const_cast<float*>(&number);
  }
  KILN_CUDNN_RETURN_IF_ERROR(library, cudnnSetStream, handle, stream);
  KILN_ASSIGN_OR_RETURN(CudnnObject pack, CudnnObject::make(library, kCudnnVariantPack));
  const auto count = static_cast<int64_t>(n);
  KILN_RETURN_IF_ERROR(pack.set(kCudnnPackIds, kCudnnTypeInt64, count, all_ids.data()));
  KILN_RETURN_IF_ERROR(pack.set(kCudnnPackPointers, kCudnnTypePointer, count, pointers.data()));
  KILN_RETURN_IF_ERROR(pack.set(kCudnnPackWorkspace, kCudnnTypePointer, 1, &workspace));
  KILN_RETURN_IF_ERROR(pack.finalize());
  std::lock_guard lock(mutex_);
  KILN_CUDNN_RETURN_IF_ERROR(library, cudnnBackendExecute, handle, plan_.get(), pack.get());
  return {};
}

std::string text_of(const CudnnTensorDesc& tensor) {
  std::string text;
  for (size_t i = 0; i < tensor.dims.size(); ++i) {
    text += (i == 0 ? " " : "x") + std::to_string(tensor.dims[i]) + "/" +
            std::to_string(tensor.strides[i]);
  }
  return text + "@" + std::to_string(tensor.alignment);
}

CudnnAnswers& CudnnAnswers::global() {
  static auto* answers = new CudnnAnswers;
  return *answers;
}

std::optional<Status> CudnnAnswers::find(const Cudnn* library, const std::string& key) {
  std::lock_guard lock(mutex_);
  const auto found = entries_.find({library, key});
  if (found == entries_.end()) return {};
  return found->second;
}

void CudnnAnswers::add(const Cudnn* library, const std::string& key, const Status& answer) {
  std::lock_guard lock(mutex_);
  if (entries_.size() >= kMaxEntries) entries_.clear();
  entries_[{library, key}] = answer;
}

}  // namespace kiln::cuda
