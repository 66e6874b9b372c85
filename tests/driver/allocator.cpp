// The caching allocator, through the table.
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "driver.h"

using namespace driver;

FASTATTN_ONCE(allocator) {
  const fa_table& f = table();
  auto alloc = [&f](size_t bytes) { return f.alloc(bytes, 0, nullptr); };
  auto release = [&f](void* p) { f.free(p, 0, nullptr); };
  f.empty_cache();
  const size_t live = f.live_bytes();
  t.expect(f.cache_bytes() == 0, "empty at the start");

  // Around the header, the border between small and cached, pages and huge pages: both ends can be written.
  std::vector<size_t> sizes = {0, 1, 63, 64, 65, 4095, 4096};
  for (size_t border : {size_t{1} << 18, size_t{9} << 15, size_t{1} << 20, size_t{2} << 20, size_t{9} << 18}) {
    for (size_t d : {0, 1, 63, 64, 65, 128}) {
      sizes.push_back(border - d);
      sizes.push_back(border + d);
    }
  }
  for (size_t bytes : sizes) {
    auto* p = static_cast<char*>(alloc(bytes));
    const std::string what = "alloc of " + std::to_string(bytes);
    if (!t.expect(p != nullptr, what)) continue;
    t.expect(reinterpret_cast<uintptr_t>(p) % 64 == 0, what + ": alignment");
    t.expect(f.live_bytes() >= live + bytes, what + ": live_bytes");
    if (bytes > 0) p[0] = p[bytes - 1] = 1;
    release(p);
    t.expect(f.live_bytes() == live, what + ": live_bytes after free");
  }
  release(nullptr);
  t.expect(alloc(SIZE_MAX) == nullptr && alloc(SIZE_MAX / 2) == nullptr, "impossible sizes");
  t.expect(f.live_bytes() == live, "impossible sizes are not counted");

  f.empty_cache();
  t.expect(f.cache_bytes() == 0, "empty_cache");
  const size_t kBytes = (size_t{3} << 20) + 5000;  // no number of pages
  void* first = alloc(kBytes);
  release(first);
  t.expect(f.cache_bytes() >= kBytes && f.cache_bytes() <= kBytes * 9 / 8 + 4096, "a freed block is kept");
  void* again = alloc(kBytes - 1000);
  t.expect(again == first && f.cache_bytes() <= 4096, "and reused for what fits");
  void* second = alloc(kBytes);
  t.expect(second != again, "two live blocks differ");
  release(again);
  release(second);
  f.empty_cache();

  // The bound. The blocks are never touched, so they cost address space only.
  std::vector<void*> blocks;
  const size_t kBig = size_t{60} << 20;
  for (int i = 0; i < 20; ++i) blocks.push_back(alloc(kBig));
  const size_t peak = f.live_bytes();
  const size_t bound = peak + peak / 16 + (size_t{64} << 20);
  for (size_t i = 0; i < blocks.size(); ++i) {
    release(blocks[i]);
    t.expect(f.cache_bytes() > 0 && f.cache_bytes() + f.live_bytes() <= bound, "the cache is bounded");
  }
  release(alloc(5 * kBig));  // of several of them
  t.expect(f.cache_bytes() >= 5 * kBig && f.cache_bytes() + f.live_bytes() <= bound, "neighbours merge");
  f.empty_cache();
  t.expect(f.cache_bytes() == 0 && f.live_bytes() == live, "all given back");

  std::vector<std::thread> users;
  for (int c = 0; c < 4; ++c) {
    users.emplace_back([&, c] {
      Random r(static_cast<uint64_t>(c));
      for (int i = 0; i < 300; ++i) {
        const size_t bytes = static_cast<size_t>(r.below(1 << 20));
        auto* p = static_cast<char*>(alloc(bytes + 1));
        p[0] = p[bytes] = 1;
        if (i % 50 == 0) f.empty_cache();
        release(p);
      }
    });
  }
  for (auto& u : users) u.join();
  t.expect(f.live_bytes() == live, "concurrent users");

  auto* kept = static_cast<char*>(alloc(kBytes));
  kept[0] = 7;
  release(alloc(kBytes));
  t.expect(f.cache_bytes() > 0, "something to inherit");
  const pid_t child = fork();
  if (child == 0) {
    bool fine = f.cache_bytes() == 0 && f.live_bytes() >= kBytes && kept[0] == 7;
    auto* p = static_cast<char*>(alloc(kBytes));
    fine = fine && p != nullptr && p != kept;
    if (fine) p[kBytes - 1] = 1;
    release(p);
    release(kept);
    _exit(fine ? 0 : 1);
  }
  int status = -1;
  waitpid(child, &status, 0);
  t.expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child of a fork starts with an empty cache");
  t.expect(f.cache_bytes() > 0 && kept[0] == 7, "the parent keeps its own");
  release(kept);
  f.empty_cache();
}
