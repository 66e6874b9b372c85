// Reports: what is wrong, who, where, and what to run to see it again. Lines of plain loads and stores are looked up
// (addr2line) only here, on the way out.
#include <dlfcn.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "emulator/state.h"

namespace fastattn::emulator {
namespace {

// The output of addr2line, line by line; empty where there is no binutils.
std::vector<std::string> addr2line(const std::string& object, uintptr_t address, const char* flags) {
  std::vector<std::string> lines;
  char command[8192];
  std::snprintf(command, sizeof command, "addr2line %s -e '%s' 0x%zx 2>/dev/null", flags, object.c_str(),
                static_cast<size_t>(address));
  if (FILE* pipe = popen(command, "r")) {
    char line[4096];
    while (std::fgets(line, sizeof line, pipe)) {
      line[std::strcspn(line, "\n")] = 0;
      lines.emplace_back(line);
    }
    pclose(pipe);
  }
  return lines;
}

// The same for an address of this process.
std::vector<std::string> symbolize(const void* address, const char* flags) {
  Dl_info info;
  if (dladdr(address, &info) == 0 || info.dli_fname == nullptr) return {};
  std::string object = info.dli_fname;
  if (::access(object.c_str(), R_OK) != 0) {
    char self[4096];
    const ssize_t n = readlink("/proc/self/exe", self, sizeof self);
    object = n > 0 ? std::string(self, static_cast<size_t>(n)) : object;
  }
  const auto absolute = reinterpret_cast<uintptr_t>(address);
  std::vector<std::string> lines = addr2line(object, absolute - reinterpret_cast<uintptr_t>(info.dli_fbase), flags);
  if (lines.empty() || lines[0].compare(0, 2, "??") != 0) return lines;
  return addr2line(object, absolute, flags);  // an executable that is not position-independent
}

std::string dim_text(unsigned x, unsigned y, unsigned z) {
  return "(" + std::to_string(x) + ", " + std::to_string(y) + ", " + std::to_string(z) + ")";
}

std::string kernel_name() {
  const void* kernel = running().launch->kernel;
  const std::vector<std::string> lines = kernel == nullptr ? std::vector<std::string>() : symbolize(kernel, "-f -C");
  if (lines.empty() || lines[0] == "??") return "?";
  std::string name = lines[0];
  // Without the parameters, the return type and the unnamed namespace.
  size_t open = name.size();
  for (int depth = 0; open > 0;) {
    const char c = name[--open];
    depth += c == ')' ? 1 : c == '(' ? -1 : 0;
    if (depth <= 0) break;
  }
  if (open > 0) name.resize(open);
  const std::string unnamed = "(anonymous namespace)::";
  for (size_t at; (at = name.find(unnamed)) != std::string::npos;) name.erase(at, unnamed.size());
  return name.compare(0, 5, "void ") == 0 ? name.substr(5) : name;
}

}  // namespace

std::string text_of(Site site) { return std::string(site.file) + ":" + std::to_string(site.line); }

std::string text_of(Where where) {
  const auto bits = static_cast<uint64_t>(where);
  if (bits & kSiteBit) {
    const auto* file = reinterpret_cast<const char*>(bits & ((uint64_t{1} << kLineShift) - 1));
    return text_of(Site(file, static_cast<int>((bits & ~kSiteBit) >> kLineShift)));
  }
  // Innermost first. Wanted are the line that is no wrapper's, and the line of another file that it was inlined into.
  std::string found, fallback = "?";
  for (std::string& line : symbolize(reinterpret_cast<const void*>(bits), "-i")) {
    line = line.substr(0, line.find(" (discriminator"));
    if (line.rfind(FASTATTN_SOURCE_PREFIX, 0) == 0) line.erase(0, std::strlen(FASTATTN_SOURCE_PREFIX));
    if (fallback == "?") fallback = line;
    const bool wrapper =
        line.find("emulator/device.h") != std::string::npos || line.find("cuda/ptx/") != std::string::npos;
    if (found.empty() && !wrapper) {
      found = line;
    } else if (!found.empty() && line.compare(0, line.rfind(':'), found, 0, found.rfind(':')) != 0) {
      return line.find("cuda/launch.h") == std::string::npos ? found + " in " + line : found;
    }
  }
  return found.empty() ? fallback : found;
}

std::string hex(unsigned value) {
  char text[16];
  std::snprintf(text, sizeof text, "0x%x", value);
  return text;
}

std::string lane_text(uint32_t serial, int index) {
  const Running& r = running();
  return "thread " + std::to_string(index) + " of block " + std::to_string(r.block_order[serial - r.first_serial]);
}
std::string text_of(const Lane& lane) { return lane_text(lane.block->serial, lane.index); }

std::string memory_text(const void* p) {
  char text[128];
  for (const auto& block : running().slots) {
    if (!block->holds(p)) continue;
    const auto offset = static_cast<size_t>(static_cast<const char*>(p) - block->arena);
    const SharedArray* nearest = nullptr;
    for (const SharedArray& array : block->arrays) {
      if (array.offset <= offset && (nearest == nullptr || array.offset > nearest->offset)) nearest = &array;
    }
    if (nearest == nullptr) return "shared memory before every array";
    std::snprintf(text, sizeof text, "shared memory %s + %zu of %zu bytes", nearest->name, offset - nearest->offset,
                  nearest->bytes);
    return text;
  }
  std::snprintf(text, sizeof text, "global memory %p", p);
  return text;
}

std::string who_waits() {
  std::map<std::string, int> groups;
  for (const auto& block : running().slots) {
    if (block->live == 0 || block->serial < running().first_serial) continue;
    const std::string of = " of block " + std::to_string(running().block_order[block->serial - running().first_serial]);
    for (int i = 0; i < block->threads; ++i) {
      const Lane& lane = *block->lanes[i];
      std::string text;
      if (lane.state == Lane::State::kExited) {
        text = of + " exited";
      } else if (lane.state == Lane::State::kReady) {
        text = of + " can run";
      } else if (lane.wait == Lane::Wait::kWarp) {
        text = of + " (warp " + std::to_string(i / 32) + ") wait in " + lane.op + ", mask " + hex(lane.mask) + ", at " +
               text_of(lane.site);
      } else {
        const Barrier& barrier = block->barriers[lane.barrier];
        text = of + " wait at " + (barrier.op ? barrier.op : "barrier " + std::to_string(lane.barrier)) + " at " +
               text_of(lane.site) + ", where " + std::to_string(barrier.arrived) + " of " +
               std::to_string(barrier.op ? block->live : barrier.threads) + " have arrived";
      }
      ++groups[text];
    }
  }
  std::string all;
  for (const auto& [text, count] : groups)
    all += "\n  " + std::to_string(count) + (count == 1 ? " thread" : " threads") + text;
  return all;
}

// On a fiber: leaves it for good, and launch() throws. Elsewhere: throws.
void fail(const std::string& what) {
  Running& r = running();
  const Launch& config = *r.launch;
  const dim3 g = config.grid, b = config.block;
  Lane* lane = current;
  current = nullptr;  // looking up names allocates: nothing of it is a lane's access
  const std::string report = "emulator: " + what + "\n  kernel " + kernel_name() + ", grid " + dim_text(g.x, g.y, g.z) +
                             ", block " + dim_text(b.x, b.y, b.z) + ", order " + name_of(r.options.order) +
                             "; FASTATTN_EMULATOR_SEED=" + std::to_string(r.options.seed);
  if (lane == nullptr) throw Error(report);
  r.error = report;
  lane->fiber.switch_out(true);
  __builtin_unreachable();
}

}  // namespace fastattn::emulator
