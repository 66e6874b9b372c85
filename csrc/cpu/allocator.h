// The caching allocator behind outputs and workspaces; allocator.cpp has its rules.
#pragma once

#include <cstddef>

namespace fastattn::cpu {

void* cached_alloc(size_t bytes);  // 64-byte aligned; nullptr where the system has none
void cached_free(void* ptr);
void empty_cache();
size_t cache_bytes();
size_t live_bytes();

}  // namespace fastattn::cpu
