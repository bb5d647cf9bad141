// Lists of tensors in files, as torch.save writes and torch.load reads them.
#pragma once

#include <ATen/core/Tensor.h>

#include <string>
#include <vector>

std::vector<at::Tensor> read_tensors(const std::string& path);
void write_tensors(const std::string& path, const std::vector<at::Tensor>& tensors);
