// Shared memory: one arena a block, cut into the arrays that the kernel declares, with a red zone around each. An
// access to a red zone is an error in both builds: AddressSanitizer's, or the hooks' own check.
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "emulator/cell.h"
#include "emulator/sanitizer.h"
#include "emulator/state.h"

namespace fastattn::emulator {

Block::Block() {
  constexpr size_t kBytes = kArenaStart + kArenaBytes;  // page-aligned, so that an aligned offset is an aligned address
  void* p = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) throw std::bad_alloc();
  arena = static_cast<char*>(p);
  asan::poison(arena, kBytes);
  if (kRaces) {
    cells = std::make_unique<Cell[]>(kBytes / kCellBytes);
    copies = std::make_unique<Event[]>(kBytes / kCopyBytes);
  }
}

Block::~Block() {
  asan::unpoison(arena, kArenaStart + kArenaBytes);
  munmap(arena, kArenaStart + kArenaBytes);
}

const SharedArray* Block::array_at(const void* p, size_t bytes) const {
  const auto offset = static_cast<size_t>(static_cast<const char*>(p) - arena);
  for (const SharedArray& array : arrays) {
    if (offset >= array.offset && offset + bytes <= array.offset + array.bytes) return &array;
  }
  return nullptr;
}

void reset_shared(Block& block) {
  for (const SharedArray& array : block.arrays) asan::poison(block.arena + array.offset, array.bytes);
  block.arrays.clear();
  block.used = kArenaStart;
  block.static_bytes = block.total_bytes = 0;
  block.copies_in_flight = 0;
}

void* shared_array(const void* tag, size_t bytes, size_t align, const char* name, Site site) {
  Running& r = running();
  Block& block = *current->block;
  for (const SharedArray& array : block.arrays) {
    if (array.tag == tag) return block.arena + array.offset;
  }
  const bool dynamic = bytes == 0;
  if (dynamic) bytes = r.launch->shared_bytes;
  block.total_bytes += bytes;
  if (!dynamic) block.static_bytes += bytes;
  align = std::max<size_t>(align, 8);  // AddressSanitizer's grain
  size_t offset = (block.used + kRedZone + align - 1) / align * align;
  if (offset / align % 2 == 0) offset += align;  // aligned as asked, and no better
  if (block.static_bytes > kStaticSharedBytes || block.total_bytes > kSharedBytes ||
      offset + bytes + kRedZone > kArenaStart + kArenaBytes) {
    fail(std::string("shared memory: ") + name + " at " + text_of(site) + " makes " +
         std::to_string(block.static_bytes) + " bytes static and " + std::to_string(block.total_bytes) + " in all");
  }
  block.used = offset + bytes;
  block.arrays.push_back({tag, offset, bytes, name});
  asan::unpoison(block.arena + offset, bytes);
  std::memset(block.arena + offset, 0xFF, bytes);
  return block.arena + offset;
}

uint32_t shared_address(const void* p, Site site) {
  if (!current->block->holds(p)) fail("not an address of this block's shared memory, at " + text_of(site));
  return static_cast<uint32_t>(static_cast<const char*>(p) - current->block->arena);
}

void* shared_pointer(uint32_t address, size_t bytes, size_t align, const char* op, Site site) {
  Block& block = *current->block;
  if (address % align != 0) {
    fail(std::string(op) + " at " + text_of(site) + ": " + text_of(*current) + " gives shared address " + hex(address) +
         ", not a multiple of " + std::to_string(align));
  }
  if (address >= kArenaStart + kArenaBytes || block.array_at(block.arena + address, bytes) == nullptr) {
    fail(std::string(op) + " at " + text_of(site) + ": " + text_of(*current) + " touches " + std::to_string(bytes) +
         " bytes at " + (address < kArenaStart + kArenaBytes ? memory_text(block.arena + address) : hex(address)) +
         ", out of bounds");
  }
  return block.arena + address;
}

}  // namespace fastattn::emulator
