#include "backends/cuda/runtime/device_timer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/status.h"

namespace kiln::cuda {
namespace {

constexpr int kCaptureThreadLocal = 1;  // CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
constexpr unsigned kNonBlocking = 1;    // CU_STREAM_NON_BLOCKING
constexpr size_t kCacheBytes = size_t{128} << 20;
constexpr int kMaxCopies = 128;
constexpr int kLaunches = 5;
constexpr int kMinCalls = 4, kMaxCalls = 64;
constexpr double kGraphMicroseconds = 1000;  // of one launch, about

// Handles of one measurement.
struct Handles {
  const Driver& driver;
  CUstream stream = nullptr;
  CUevent begin = nullptr, end = nullptr;
  CUgraph graph = nullptr;
  CUgraphExec exec = nullptr;

  ~Handles() {
    drop_graph();
    if (begin != nullptr) driver.EventDestroy(begin);
    if (end != nullptr) driver.EventDestroy(end);
    if (stream != nullptr) driver.StreamDestroy(stream);
  }
  void drop_graph() {
    if (exec != nullptr) driver.GraphExecDestroy(std::exchange(exec, nullptr));
    if (graph != nullptr) driver.GraphDestroy(std::exchange(graph, nullptr));
  }
};

Status capture(Handles& h, const std::function<Status(CUstream, int)>& call, int calls) {
  h.drop_graph();
  KILN_CUDA_RETURN_IF_ERROR(h.driver, StreamBeginCapture, h.stream, kCaptureThreadLocal);
  Status status;
  for (int i = 0; i < calls && status.ok(); ++i) status = call(h.stream, i);
  // A capture must end, whatever happened in it.
  const Status ended =
      check(h.driver, h.driver.StreamEndCapture(h.stream, &h.graph), "cuStreamEndCapture");
  KILN_RETURN_IF_ERROR(std::move(status));
  KILN_RETURN_IF_ERROR(Status(ended));
  KILN_CUDA_RETURN_IF_ERROR(h.driver, GraphInstantiate, &h.exec, h.graph, 0);
  return {};
}

Result<double> launch(Handles& h) {
  float milliseconds = 0;
  KILN_CUDA_RETURN_IF_ERROR(h.driver, EventRecord, h.begin, h.stream);
  KILN_CUDA_RETURN_IF_ERROR(h.driver, GraphLaunch, h.exec, h.stream);
  KILN_CUDA_RETURN_IF_ERROR(h.driver, EventRecord, h.end, h.stream);
  KILN_CUDA_RETURN_IF_ERROR(h.driver, EventSynchronize, h.end);
  KILN_CUDA_RETURN_IF_ERROR(h.driver, EventElapsedTime, &milliseconds, h.begin, h.end);
  return 1000.0 * milliseconds;
}

}  // namespace

Result<TimingBuffer> TimingBuffer::make(const Driver& driver, size_t bytes) {
  TimingBuffer buffer;
  bytes = std::max<size_t>(bytes, 256);
  KILN_CUDA_RETURN_IF_ERROR(driver, MemAlloc, &buffer.address_, bytes);
  buffer.driver_ = &driver;
  KILN_CUDA_RETURN_IF_ERROR(driver, MemsetD8Async, buffer.address_, 0x3c, bytes, nullptr);
  KILN_CUDA_RETURN_IF_ERROR(driver, StreamSynchronize, nullptr);
  return buffer;
}

TimingBuffer::TimingBuffer(TimingBuffer&& other) noexcept
    : driver_(std::exchange(other.driver_, nullptr)), address_(std::exchange(other.address_, 0)) {}

TimingBuffer& TimingBuffer::operator=(TimingBuffer&& other) noexcept {
  std::swap(driver_, other.driver_);
  std::swap(address_, other.address_);
  return *this;
}

TimingBuffer::~TimingBuffer() {
  if (driver_ != nullptr && address_ != 0) driver_->MemFree(address_);
}

int rotating_copies(size_t bytes) {
  const size_t needed = kCacheBytes / std::max<size_t>(bytes, 1) + 1;
  return static_cast<int>(std::clamp<size_t>(needed, 1, kMaxCopies));
}

Result<double> time_on_device(const Driver& driver,
                              const std::function<Status(CUstream, int)>& call) {
  Handles h{driver};
  KILN_CUDA_RETURN_IF_ERROR(driver, StreamCreate, &h.stream, kNonBlocking);
  KILN_CUDA_RETURN_IF_ERROR(driver, EventCreate, &h.begin, 0);
  KILN_CUDA_RETURN_IF_ERROR(driver, EventCreate, &h.end, 0);
  // Once outside of a capture: libraries load modules when they are first called.
  KILN_RETURN_IF_ERROR(call(h.stream, 0));
  KILN_CUDA_RETURN_IF_ERROR(driver, StreamSynchronize, h.stream);
  KILN_RETURN_IF_ERROR(capture(h, call, kMinCalls));
  KILN_ASSIGN_OR_RETURN(double total, launch(h));
  KILN_ASSIGN_OR_RETURN(total, launch(h));
  const double once = total / kMinCalls;
  const int calls =
      once <= 0 ? kMaxCalls
                : static_cast<int>(std::clamp(kGraphMicroseconds / once, double{kMinCalls},
                                              double{kMaxCalls}));
  if (calls != kMinCalls) {
    KILN_RETURN_IF_ERROR(capture(h, call, calls));
    KILN_RETURN_IF_ERROR(launch(h).status());
  }
  std::array<double, kLaunches> times{};
  for (double& time : times) {
    KILN_ASSIGN_OR_RETURN(time, launch(h));
  }
  std::sort(times.begin(), times.end());
  return times[kLaunches / 2] / calls;
}

}  // namespace kiln::cuda
