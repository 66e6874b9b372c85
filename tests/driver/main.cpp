// Runs every registered test on every variant, prints one line each and a summary. Arguments name the tests to run.
#include "driver.h"

namespace driver {
namespace {

struct Entry {
  const char* name;
  void (*run)(Test&);
  bool per_variant;
};
std::vector<Entry>& entries() {
  static std::vector<Entry> list;
  return list;
}

}  // namespace

Register::Register(const char* name, void (*run)(Test&), bool per_variant) {
  entries().push_back({name, run, per_variant});
}

const fa_table& table() {
  static const fa_table* t = fa_get_table(FA_TABLE_VERSION);
  return *t;
}

bool Test::expect(bool ok, const std::string& what) {
  constexpr int kShown = 8;
  ++checks_;
  if (ok) return true;
  if (++failures_ <= kShown) std::fprintf(stderr, "  %s: %s\n", name_.c_str(), what.c_str());
  return false;
}

std::string text_of(const Shape& s) {
  std::string text = "(";
  for (size_t d = 0; d < s.size(); ++d) text += (d > 0 ? "," : "") + std::to_string(s[d]);
  return text + ")";
}

}  // namespace driver

int main(int argc, char** argv) {
  using namespace driver;
  if (fa_get_table(FA_TABLE_VERSION + 1) != nullptr || table().version != FA_TABLE_VERSION ||
      table().size != sizeof(fa_table)) {
    std::fprintf(stderr, "fa_get_table answers for the wrong version\n");
    return 1;
  }
  table().set_num_threads(3);  // what a query sizes workspaces for
  int passed = 0, failed = 0;
  auto run = [&](const Entry& e, const std::string& variant) {
    for (int i = 1; i < argc; ++i) {
      if (std::strcmp(argv[i], e.name) == 0) break;
      if (i == argc - 1) return;
    }
    const std::string name = variant.empty() ? e.name : e.name + (" " + variant);
    Test t(name);
    e.run(t);
    const bool ok = t.failures() == 0;
    std::printf("%-28s %s, %d checks", name.c_str(), ok ? "passed" : "FAILED", t.checks());
    if (!ok) std::printf(", %d failed", t.failures());
    if (!t.declined().empty()) std::printf(" (declined: %s)", t.declined().c_str());
    std::printf("\n");
    std::fflush(stdout);
    ++(ok ? passed : failed);
  };
  std::sort(entries().begin(), entries().end(),
            [](const Entry& a, const Entry& b) { return std::strcmp(a.name, b.name) < 0; });
  for (const Entry& e : entries()) {
    if (!e.per_variant) run(e, "");
  }
  const std::string variants = table().variant_list();
  for (size_t at = 0; at < variants.size();) {
    const size_t comma = std::min(variants.find(',', at), variants.size());
    const std::string variant = variants.substr(at, comma - at);
    at = comma + 1;
    if (table().variant_force(variant.c_str()) != FA_OK || variant != table().variant_active()) {
      std::fprintf(stderr, "variant_force(\"%s\") did not take\n", variant.c_str());
      return 1;
    }
    for (const Entry& e : entries()) {
      if (e.per_variant) run(e, variant);
    }
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed == 0 ? 0 : 1;
}
