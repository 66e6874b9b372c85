// Runs every registered test for every seed (each has its own order of lanes), prints one line each and a summary.
// Arguments: names of tests to run; --show prints the report of every planted bug. FASTATTN_EMULATOR_SEED: one seed
// instead of 0 to 3.
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <exception>
#include <fstream>

#include "emulator/emulator_test.h"

namespace emulator_test {
namespace {

struct Entry {
  const char* name;
  void (*run)(Test&);
};
std::vector<Entry>& entries() {
  static std::vector<Entry> list;
  return list;
}

}  // namespace

Register::Register(const char* name, void (*run)(Test&)) { entries().push_back({name, run}); }

bool& show_reports() {
  static bool show = false;
  return show;
}

bool Test::expect(bool ok, const std::string& what) {
  constexpr int kShown = 8;
  ++checks_;
  if (ok) return true;
  if (++failures_ <= kShown) std::fprintf(stderr, "  %s: %s\n", name_.c_str(), what.c_str());
  return false;
}

void Test::expect_parts(const std::string& what, const std::string& text, std::initializer_list<std::string> parts) {
  if (show_reports()) std::printf("--- %s\n%s\n", what.c_str(), text.c_str());
  for (const std::string& part : parts) {
    const size_t bar = part.find('|');  // one or the other
    const bool found = text.find(part.substr(0, bar)) != std::string::npos ||
                       (bar != std::string::npos && text.find(part.substr(bar + 1)) != std::string::npos);
    expect(found, what + ": no '" + part + "' in\n" + text);
  }
}

void Test::expect_report(const std::string& what, const std::function<void()>& call,
                         std::initializer_list<std::string> parts) {
  try {
    call();
  } catch (const fastattn::emulator::Error& error) {
    expect_parts(what, error.what(), parts);
    const std::string seed = "FASTATTN_EMULATOR_SEED=" + std::to_string(fastattn::emulator::options().seed);
    expect(std::strstr(error.what(), seed.c_str()) != nullptr, what + ": no " + seed + " in\n" + error.what());
    return;
  }
  expect(false, what + ": not noticed");
}

void Test::expect_death(const std::string& what, const std::function<void()>& call,
                        std::initializer_list<std::string> parts) {
  int ends[2];
  if (!expect(pipe(ends) == 0, "pipe")) return;
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    close(ends[0]);
    close(ends[1]);
    try {
      call();
    } catch (const std::exception& error) {
      std::fputs(error.what(), stderr);
    }
    std::fflush(nullptr);
    _exit(0);
  }
  close(ends[1]);
  std::string text;
  char part[4096];
  for (ssize_t n; (n = read(ends[0], part, sizeof part)) > 0;) text.append(part, static_cast<size_t>(n));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  expect(!WIFEXITED(status) || WEXITSTATUS(status) != 0, what + ": not noticed\n" + text);
  expect_parts(what, text, parts);
}

void Test::expect_near(const std::string& what, const std::vector<float>& got, const std::vector<double>& want,
                       const std::vector<double>& bound) {
  for (size_t i = 0; i < want.size(); ++i) {
    if (!(std::abs(got[i] - want[i]) <= bound[i])) {
      expect(false, what + ": element " + std::to_string(i) + " is " + std::to_string(got[i]) + ", not " +
                        std::to_string(want[i]) + " within " + std::to_string(bound[i]));
      return;
    }
  }
  expect(true, what);
}

std::string line_of(const std::string& file, const std::string& mark) {
  const std::string path = "tests/emulator/kernels/" + file;
  std::ifstream source(std::string(FASTATTN_SOURCE_DIR) + "/" + path);
  std::string line;
  for (int number = 1; std::getline(source, line); ++number) {
    if (line.find("[" + mark + "]") != std::string::npos) return path + ":" + std::to_string(number);
  }
  return path + ": no [" + mark + "]";
}

std::vector<float> random_floats(Random& random, size_t n) {
  std::vector<float> x(n);
  for (float& v : x) v = random.symmetric();
  return x;
}

}  // namespace emulator_test

int main(int argc, char** argv) {
  using namespace emulator_test;
  std::vector<uint64_t> seeds = {0, 1, 2, 3};
  if (const char* seed = std::getenv("FASTATTN_EMULATOR_SEED")) seeds = {std::strtoull(seed, nullptr, 10)};
  std::vector<std::string> names;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--show") {
      show_reports() = true;
    } else {
      names.push_back(argument);
    }
  }
  int passed = 0, failed = 0;
  for (const Entry& entry : entries()) {
    bool wanted = names.empty();
    for (const std::string& name : names) wanted = wanted || name == entry.name;
    if (!wanted) continue;
    const auto start = std::chrono::steady_clock::now();
    Test t(entry.name);
    for (const uint64_t seed : seeds) {
      fastattn::emulator::set_seed(seed);
      try {
        entry.run(t);
      } catch (const std::exception& error) {
        t.expect(false, error.what());
      }
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    std::printf("%-28s %s, %d checks, %.2f s\n", entry.name, t.failures() ? "FAILED" : "passed", t.checks(),
                took.count());
    std::fflush(stdout);
    ++(t.failures() ? failed : passed);
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed != 0 || passed == 0;
}
