#include "backend.h"

#include <dlfcn.h>
#include <pybind11/pybind11.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

namespace fastattn::bindings {
namespace {

std::string folder_of_this_module() {
  Dl_info info;
  if (dladdr(reinterpret_cast<const void*>(&cpu_backend), &info) == 0) return "";
  std::string path = info.dli_fname;
  return path.substr(0, path.find_last_of('/') + 1);
}

const fa_table& open_backend(const std::string& path) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) throw pybind11::import_error("fastattn: cannot load " + path + ": " + dlerror());
  auto get_table = reinterpret_cast<const fa_table* (*)(uint32_t)>(dlsym(library, "fa_get_table"));
  const fa_table* table = get_table == nullptr ? nullptr : get_table(FA_TABLE_VERSION);
  if (table == nullptr || table->size != sizeof(fa_table)) {
    throw pybind11::import_error("fastattn: " + path + " is of another version; reinstall fastattn");
  }
  return *table;
}

const fa_table& open_cpu() {
  const fa_table& table = open_backend(folder_of_this_module() + "libfastattn.so");
  const char* isa = std::getenv("FASTATTN_ISA");
  if (isa != nullptr && *isa != 0 && table.variant_force(isa) != FA_OK) {
    throw pybind11::import_error("fastattn: FASTATTN_ISA=" + std::string(isa) +
                                 " is not one of what this machine runs: " + table.variant_list());
  }
  return table;
}

const fa_table& open_chosen() {
  const char* path = std::getenv("FASTATTN_TEST_BACKEND");
  return path == nullptr || *path == 0 ? cpu_backend() : open_backend(path);
}

// With the GIL held, as all bindings read arguments.
struct CudaLibrary {
  bool opened = false;
  const fa_table* table = nullptr;
} cuda_library;

}  // namespace

const fa_table& cpu_backend() {
  static const fa_table& table = open_cpu();
  return table;
}

const fa_table& backend() {
  static const fa_table& table = open_chosen();
  return table;
}

const fa_table* cuda_backend() {
  if (!cuda_library.opened) {
    const std::string path = folder_of_this_module() + "libfastattn_cuda.so";
    cuda_library = {true, access(path.c_str(), F_OK) == 0 ? &open_backend(path) : nullptr};
  }
  return cuda_library.table;
}

void use_cuda_library(const std::string& path) {
  cuda_library = path.empty() ? CudaLibrary{} : CudaLibrary{true, &open_backend(path)};
}

}  // namespace fastattn::bindings
