#include "kernel_table.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace fastattn::cpu {

namespace avx512_bf16 {
extern const KernelTable kTable;
}
namespace avx512 {
extern const KernelTable kTable;
}
namespace avx2 {
extern const KernelTable kTable;
}
namespace scalar {
extern const KernelTable kTable;
}

const KernelTable* const kKernelTables[] = {&avx512_bf16::kTable, &avx512::kTable, &avx2::kTable, &scalar::kTable};
const int kNumKernelTables = sizeof kKernelTables / sizeof kKernelTables[0];

namespace {

std::atomic<const KernelTable*> active{nullptr};

// The runnable table of that name, or the best one for nullptr; nullptr where there is none.
const KernelTable* find(const char* name) {
  for (const KernelTable* table : kKernelTables) {
    if (table->runs_here() && (name == nullptr || std::strcmp(table->name, name) == 0)) return table;
  }
  return nullptr;
}

}  // namespace

const KernelTable& active_kernels() {
  const KernelTable* table = active.load(std::memory_order_acquire);
  if (table == nullptr) {
    table = find(nullptr);
    active.store(table, std::memory_order_release);
  }
  return *table;
}

bool force_kernels(const char* name) {
  const KernelTable* table = find(name);
  if (table == nullptr) return false;
  active.store(table, std::memory_order_release);
  return true;
}

const char* runnable_kernels() {
  static const std::string list = [] {
    std::string text;
    for (const KernelTable* table : kKernelTables) {
      if (!table->runs_here()) continue;
      if (!text.empty()) text += ',';
      text += table->name;
    }
    return text;
  }();
  return list.c_str();
}

}  // namespace fastattn::cpu
