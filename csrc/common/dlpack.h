// The parts of DLPack 1.x that are read here, declared again so that no framework's headers are needed to build.
// tests/bindings/test_dlpack.py compares sizes and offsets with an official dlpack.h where one is installed.
#pragma once

#include <cstdint>

namespace fastattn::dlpack {

inline constexpr int32_t kCpu = 1, kCuda = 2;
enum TypeCode : uint8_t { kInt = 0, kUInt = 1, kFloat = 2, kBfloat = 4, kBool = 6 };

struct Device {
  int32_t device_type;
  int32_t device_id;
};
struct DataType {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
};
struct Tensor {
  void* data;
  Device device;
  int32_t ndim;
  DataType dtype;
  int64_t* shape;
  int64_t* strides;  // in elements; nullptr: row-major
  uint64_t byte_offset;
};
struct Version {
  uint32_t major;
  uint32_t minor;
};

// A type that has the attribute __dlpack_c_exchange_api__ (a capsule of this name) reads its objects without a capsule
// each, a reference or a synchronisation.
inline constexpr const char* kExchangeName = "dlpack_exchange_api";
struct ExchangeHeader {
  Version version;
  ExchangeHeader* prev_api;
};
struct ExchangeApi {
  ExchangeHeader header;
  void* managed_tensor_allocator;
  void* managed_tensor_from_py_object_no_sync;
  void* managed_tensor_to_py_object_no_sync;
  int (*dltensor_from_py_object_no_sync)(void* py_object, Tensor* out);  // 0 = done, -1 = a Python error is set
  int (*current_work_stream)(int32_t device_type, int32_t device_id, void** out_stream);  // 0 = done
};

}  // namespace fastattn::dlpack
