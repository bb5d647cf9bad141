#include "npy.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

namespace {

struct Code {
  kiln::DType dtype;
  const char* descr;
  size_t bytes;
};

constexpr Code kCodes[] = {
    {kiln::DType::kF32, "<f4", 4}, {kiln::DType::kF64, "<f8", 8}, {kiln::DType::kF16, "<f2", 2},
    {kiln::DType::kI8, "|i1", 1},  {kiln::DType::kU8, "|u1", 1},  {kiln::DType::kI16, "<i2", 2},
    {kiln::DType::kI32, "<i4", 4}, {kiln::DType::kI64, "<i8", 8}, {kiln::DType::kBool, "|b1", 1}};

const Code* code_of(kiln::DType dtype) {
  for (const Code& code : kCodes) {
    if (code.dtype == dtype) return &code;
  }
  return nullptr;
}

kiln::Status malformed(const std::string& path) {
  return kiln::Status::error("K3130", "not a .npy file that can be read: " + path);
}

// A file that NumPy reads and this reader does not.
kiln::Status unread(const std::string& path, const std::string& why, const std::string& hint) {
  return kiln::Status::error("K3130", "not a .npy file that can be read: " + path + ": " + why,
                             hint);
}

// The text of a type in a header: "<f4"; empty for a type that has fields.
std::string descr_of(const std::string& header) {
  const std::string key = "'descr': '";
  const size_t begin = header.find(key);
  if (begin == std::string::npos) return {};
  const size_t end = header.find('\'', begin + key.size());
  return end == std::string::npos ? std::string()
                                  : header.substr(begin + key.size(), end - begin - key.size());
}

// Why elements of this type are not read.
kiln::Status unread_type(const std::string& path, const std::string& descr) {
  if (descr.empty()) return unread(path, "its elements have fields", "save each field by itself");
  if (descr[0] == '>') {
    return unread(path, "its byte order is big-endian: '" + descr + "'",
                  "save array.astype(array.dtype.newbyteorder('<'))");
  }
  if (descr.find('O') != std::string::npos) {
    return unread(path, "its elements are Python objects", "save an array of numbers");
  }
  return unread(path, "its elements are of type '" + descr + "'",
                "tensors have floats of 16 to 64 bits, integers of 8 to 64 bits, uint8 or bool");
}

}  // namespace

kiln::Result<NpyArray> read_npy(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return kiln::Status::error("K3001", "cannot open: " + path);
  char magic[10];
  if (!file.read(magic, 10) || std::string(magic, 6) != "\x93NUMPY") return malformed(path);
  if (magic[6] != 1) {
    return unread(path, "its format is of version " + std::to_string(magic[6]),
                  "numpy.lib.format.write_array(file, array, version=(1, 0)) writes version 1");
  }
  const auto length = static_cast<size_t>(static_cast<unsigned char>(magic[8]) |
                                          static_cast<unsigned char>(magic[9]) << 8);
  std::string header(length, ' ');
  if (!file.read(header.data(), static_cast<std::streamsize>(length))) return malformed(path);
  const size_t open = header.find("'shape': (");
  if (open == std::string::npos || header.find("'descr': ") == std::string::npos) {
    return malformed(path);
  }
  NpyArray array;
  const std::string descr = descr_of(header);
  const Code* found = nullptr;
  for (const Code& code : kCodes) {
    if (descr == code.descr) found = &code;
  }
  if (found == nullptr) return unread_type(path, descr);
  if (header.find("'fortran_order': True") != std::string::npos) {
    return unread(path, "its array is in Fortran order", "save numpy.ascontiguousarray(array)");
  }
  if (header.find("'fortran_order': False") == std::string::npos) return malformed(path);
  array.dtype = found->dtype;
  const char* at = header.c_str() + open + 10;
  size_t bytes = found->bytes;
  while (*at != ')' && *at != 0) {
    char* end = nullptr;
    const long long extent = std::strtoll(at, &end, 10);
    if (end == at || extent < 0 ||
        __builtin_mul_overflow(bytes, static_cast<size_t>(extent), &bytes)) {
      return malformed(path);
    }
    array.shape.push_back(extent);
    at = end;
    while (*at == ',' || *at == ' ') ++at;
  }
  if (bytes > (size_t{1} << 40)) return malformed(path);
  array.data.resize(bytes);
  if (bytes != 0 &&
      !file.read(reinterpret_cast<char*>(array.data.data()), static_cast<std::streamsize>(bytes))) {
    return malformed(path);
  }
  return array;
}

kiln::Status write_npy(const std::string& path, const NpyArray& array) {
  const Code* code = code_of(array.dtype);
  if (code == nullptr) return kiln::Status::error("K3130", "no .npy type for an output: " + path);
  std::string shape;
  for (int64_t extent : array.shape) shape += std::to_string(extent) + ", ";
  if (array.shape.size() > 1) shape.erase(shape.size() - 2);
  std::string header = std::string("{'descr': '") + code->descr +
                       "', 'fortran_order': False, 'shape': (" + shape + "), }";
  while ((10 + header.size() + 1) % 64 != 0) header += ' ';
  header += '\n';
  std::ofstream file(path, std::ios::binary);
  file.write("\x93NUMPY\x01\x00", 8);
  file.put(static_cast<char>(header.size() & 0xff));
  file.put(static_cast<char>(header.size() >> 8));
  file << header;
  file.write(reinterpret_cast<const char*>(array.data.data()),
             static_cast<std::streamsize>(array.data.size()));
  file.flush();
  if (!file) return kiln::Status::error("K3003", "cannot write: " + path);
  return {};
}

NpyArray dense_copy(const kiln::TensorView& view) {
  NpyArray array;
  array.dtype = view.dtype;
  array.shape.assign(view.shape, view.shape + view.rank);
  int64_t count = 1;
  for (int64_t extent : array.shape) count *= extent;
  const Code* code = code_of(view.dtype);
  const size_t item = code != nullptr ? code->bytes : 2;  // bf16 alone has no .npy type
  array.data.resize(static_cast<size_t>(count) * item);
  std::vector<int64_t> index(array.shape.size(), 0);
  for (int64_t n = 0; n < count; ++n) {
    int64_t at = 0, dense = 1;
    for (size_t d = index.size(); d-- > 0;) {
      at += index[d] * (view.strides != nullptr ? view.strides[d] : dense);
      dense *= array.shape[d];
    }
    std::memcpy(array.data.data() + static_cast<size_t>(n) * item,
                static_cast<const char*>(view.data) + at * static_cast<int64_t>(item), item);
    for (size_t d = index.size(); d-- > 0;) {
      if (++index[d] < array.shape[d]) break;
      index[d] = 0;
    }
  }
  return array;
}
