// NumPy's .npy files, version 1.0: enough to pass tensors between Python and C++.
#pragma once

#include <string>
#include <vector>

#include <kiln/status.h>
#include <kiln/tensor.h>

struct NpyArray {
  kiln::DType dtype = kiln::DType::kF32;
  std::vector<int64_t> shape;
  std::vector<std::byte> data;  // contiguous, row-major

  kiln::TensorView view() {
    kiln::TensorView view;
    view.data = data.data();
    view.dtype = dtype;
    view.rank = static_cast<int>(shape.size());
    view.shape = shape.data();
    return view;
  }
};

// K3001 no such file, K3130 not a file of this kind.
kiln::Result<NpyArray> read_npy(const std::string& path);
// `shape` and `data` are contiguous. K3003 when the file cannot be written.
kiln::Status write_npy(const std::string& path, const NpyArray& array);
// A row-major copy of a view, as .npy files want it. Of any type, also one that they do not have.
NpyArray dense_copy(const kiln::TensorView& view);
