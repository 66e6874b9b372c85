// The emulator as device code sees it: what device.h and the host bodies in cuda/ptx/ call. No standard container here,
// so that an instrumented kernel source never emits an inline function that the core shares.
#pragma once

#include <cstddef>
#include <cstdint>

struct uint3 {
  unsigned x = 0, y = 0, z = 0;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

namespace fastattn::emulator {

// Where a call stands. As a default argument, `Site site = {}` is the caller's line.
struct Site {
  const char* file;
  int line;
  constexpr Site(const char* f = __builtin_FILE(), int l = __builtin_LINE()) : file(f), line(l) {}
};

// ---- launch (launch.cpp)

struct Launch {
  dim3 grid, block;
  size_t shared_bytes = 0;       // dynamic shared memory
  const void* kernel = nullptr;  // its address, from which a report finds the name
  // Where the parameters lie, which every thread copies and none can change: the detector leaves them out.
  const char *parameters = nullptr, *parameters_end = nullptr;
  void add_parameter(const void* p, size_t bytes) {
    const char* begin = static_cast<const char*>(p);
    if (parameters == nullptr || begin < parameters) parameters = begin;
    if (begin + bytes > parameters_end) parameters_end = begin + bytes;
  }
};
// Runs body once for every thread of the grid; throws Error (emulator.h) with the report of whatever is wrong.
void launch(const Launch& config, void (*body)(void*), void* argument);

// ---- shared memory (shared.cpp)

inline constexpr size_t kSharedBytes = 227 << 10;       // of a block, sm_90; an sm_80 block has 163 KB
inline constexpr size_t kStaticSharedBytes = 48 << 10;  // what the compiler accepts without opting in

// The array that the declaration `tag` names, in the block that runs. bytes == 0: the dynamic one.
void* shared_array(const void* tag, size_t bytes, size_t align, const char* name, Site site = {});
// The 32-bit address that instructions take: an offset in the block's shared memory.
uint32_t shared_address(const void* p, Site site);
// Back to a pointer: checks alignment, and that [address, address + bytes) lies in one array.
void* shared_pointer(uint32_t address, size_t bytes, size_t align, const char* op, Site site);

// ---- memory as the race detector sees it (race.cpp); what the hooks do for plain loads and stores

void note_read(const void* p, size_t bytes, const char* op, Site site);
void note_write(const void* p, size_t bytes, const char* op, Site site);
// For the body of a collective, which one lane runs on behalf of all.
void note_read_by(int lane, const void* p, size_t bytes, Site site);
void note_write_by(int lane, const void* p, size_t bytes, Site site);
void raw_copy(void* to, const void* from, size_t bytes);  // not instrumented

enum class AtomicKind { kLoad, kStore, kUpdate };
enum class Order { kRelaxed, kAcquire, kRelease };
void atomic_begin(void* p, size_t bytes, AtomicKind kind, Order order, Site site);
void fence(Site site);

// ---- barriers (barrier.cpp)

struct Votes {
  int count, threads;
};
Votes block_barrier(const char* op, bool predicate, Site site);  // all threads that have not exited
void named_barrier_sync(int id, int threads, Site site);
void named_barrier_arrive(int id, int threads, Site site);

// ---- warps (warp.cpp)

// A lane posts a call; the last lane of the mask to come runs `work` for all of them.
struct WarpCall {
  unsigned mask;
  void* operands[32];  // what each lane of the mask posted
  const char* op;
  Site site;
};
void collective(const char* op, unsigned mask, void* operand, void (*work)(const WarpCall&), Site site);
[[noreturn]] void collective_error(const WarpCall& call, int lane, const char* what);

void warp_barrier(unsigned mask, Site site);
enum class ShuffleKind { kIndex, kUp, kDown, kXor };
uint64_t warp_shuffle(const char* op, ShuffleKind kind, unsigned mask, uint64_t bits, int argument, int width,
                      Site site);
unsigned warp_ballot(const char* op, unsigned mask, bool predicate, Site site);
unsigned warp_gather(const char* op, unsigned mask, uint64_t bits, uint64_t (&all)[32], Site site);
unsigned active_mask();

// ---- asynchronous copies (async.cpp)

void cp_async(uint32_t to, const void* from, int bytes, int source_bytes, Site site);
void cp_async_commit();
void cp_async_wait(int groups_left, Site site);

// ---- matrix instructions (matrix.cpp): D = A B + C of a warp, as PTX deals the fragments out to its lanes

enum class MatrixType { kBf16, kF16, kTf32 };  // m16n8k16 of the first two, m16n8k8 of the third
void mma(MatrixType type, float* d, const uint32_t* a, const uint32_t* b, const float* c, Site site);
void ldmatrix(int matrices, bool transposed, uint32_t* r, uint32_t address, Site site);
void stmatrix(int matrices, bool transposed, const uint32_t* r, uint32_t address, Site site);

// Lets others run: what a loop that polls must do, as nothing else would.
void poll(Site site);

}  // namespace fastattn::emulator
