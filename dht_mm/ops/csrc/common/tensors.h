// What both libraries need of torch's stable ABI: one binary serves every torch from 2.10 on.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <cstdint>
#include <initializer_list>
#include <sstream>
#include <stdexcept>
#include <vector>

namespace dht {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Refuses what a caller handed over, in words for the caller: Python raises them as a ValueError, without a place in our sources.
template <class... Parts>
void require(bool condition, const Parts&... parts) {
  if (condition) return;
  std::ostringstream message;
  (message << ... << parts);
  throw std::invalid_argument(message.str());
}

inline int32_t dtype_code(ScalarType dtype) {
  switch (dtype) {
    case ScalarType::Byte:
      return aoti_torch_dtype_uint8();
    case ScalarType::Int:
      return aoti_torch_dtype_int32();
    case ScalarType::Long:
      return aoti_torch_dtype_int64();
    case ScalarType::Float:
      return aoti_torch_dtype_float32();
    case ScalarType::Double:
      return aoti_torch_dtype_float64();
    default:
      STD_TORCH_CHECK(false, "no buffers of this dtype are made here");
  }
}

inline std::vector<int64_t> strides_of(std::initializer_list<int64_t> shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * (shape.begin()[i] > 0 ? shape.begin()[i] : 1);
  return strides;
}

// An uninitialised tensor beside another one. Calls the shim and not the dispatcher, which takes longer than a small kernel.
inline Tensor empty_on(const Tensor& like, std::initializer_list<int64_t> shape, ScalarType dtype) {
  int32_t device_type = 0;
  AtenTensorHandle handle = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device_type));
  TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(static_cast<int64_t>(shape.size()), shape.begin(), strides_of(shape).data(),
                                                         dtype_code(dtype), device_type, like.get_device_index(), &handle));
  return Tensor(handle);
}

// The first elements of a buffer, as a tensor of their own over the same memory.
inline Tensor beginning_of(const Tensor& buffer, std::initializer_list<int64_t> shape) {
  AtenTensorHandle handle = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch__reinterpret_tensor(buffer.get(), static_cast<int64_t>(shape.size()), shape.begin(),
                                                               strides_of(shape).data(), 0, &handle));
  return Tensor(handle);
}

template <class T>
const T* data(const Tensor& tensor) {
  return static_cast<const T*>(tensor.data_ptr());
}

template <class T>
T* mutable_data(const Tensor& tensor) {
  return static_cast<T*>(tensor.data_ptr());
}

}  // namespace dht
