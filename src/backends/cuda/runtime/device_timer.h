// Times work on the device: candidates of the tuners.
#pragma once

#include <functional>

#include <kiln/status.h>

#include "backends/cuda/runtime/driver.h"

namespace kiln::cuda {

// Device memory for measurements, freed with the object; filled with numbers that are neither zero
// nor large in any float format.
class TimingBuffer {
 public:
  static Result<TimingBuffer> make(const Driver& driver, size_t bytes);
  TimingBuffer() = default;
  TimingBuffer(TimingBuffer&& other) noexcept;
  TimingBuffer& operator=(TimingBuffer&& other) noexcept;
  ~TimingBuffer();
  char* data() const { return reinterpret_cast<char*>(address_); }

 private:
  const Driver* driver_ = nullptr;
  CUdeviceptr address_ = 0;
};

// How many copies of operands of this size are used in turn, so that no call finds its operands in
// the L2 cache of any present device.
int rotating_copies(size_t bytes);

// Microseconds of one call: `call(stream, i)` puts call number i on the stream. The calls are
// captured in a graph, which is launched several times; the median launch counts. Waits for the
// device; must not run while the thread's stream is captured by somebody else. K5304 and what the
// call returns.
Result<double> time_on_device(const Driver& driver,
                              const std::function<Status(CUstream, int)>& call);

}  // namespace kiln::cuda
