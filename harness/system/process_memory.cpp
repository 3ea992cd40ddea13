#include "harness/system/process_memory.hpp"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <system_error>

namespace plumbline {

#ifdef __linux__
namespace {

// The sum of what `bytes` says of the folder in /proc of each process of the group.
template <typename Bytes>
std::uint64_t sum_over_group(pid_t group, Bytes bytes) {
  std::uint64_t total = 0;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    if (::getpgid(static_cast<pid_t>(std::atol(name.c_str()))) != group) continue;
    total += bytes(entry.path());
  }
  return total;
}

}  // namespace

std::uint64_t resident_bytes(pid_t group) {
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  return sum_over_group(group, [page](const std::filesystem::path& process) {
    std::uint64_t whole = 0, resident = 0;
    std::ifstream(process / "statm") >> whole >> resident;
    return resident * page;
  });
}

std::uint64_t peak_resident_bytes(pid_t group) {
  return sum_over_group(group, [](const std::filesystem::path& process) {
    std::ifstream status(process / "status");
    for (std::string line; std::getline(status, line);)
      if (line.starts_with("VmHWM:"))
        return std::uint64_t{std::strtoull(line.c_str() + 6, nullptr, 10)} << 10;
    return std::uint64_t{0};
  });
}
#else
std::uint64_t resident_bytes(pid_t) {
  return 0;
}
std::uint64_t peak_resident_bytes(pid_t) {
  return 0;
}
#endif

}  // namespace plumbline
