#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <set>
#include <system_error>

#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/interruption.hpp"
#include "reports/bundle.hpp"
#include "reports/text.hpp"

namespace plumbline::reports {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void refuse(const fs::path& path, const std::string& what, const std::error_code& why) {
  throw InputError(visible(path.string()) + " " + what + ": " + why.message() +
                   "; choose another directory with --out DIR");
}

// The directory as it is, whatever links lead to it; made if missing.
fs::path made(const fs::path& directory) {
  std::error_code why;
  fs::create_directories(directory, why);
  if (why) refuse(directory, "cannot be made", why);
  if (!fs::is_directory(directory, why))
    refuse(directory, "cannot take the results", std::make_error_code(std::errc::not_a_directory));
  const fs::path real = fs::canonical(directory, why);
  if (why) refuse(directory, "cannot be found", why);
  return real;
}

// The names there that are an older bundle's.
std::set<std::string> older_bundle(const fs::path& out) {
  std::set<std::string> names;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(out, ignored))
    if (is_of_a_bundle(entry.path().filename().string())) names.insert(entry.path().filename().string());
  try {
    const fs::path manifest = out / manifest_name;
    for (const Entry& entry : from_manifest(read_text(manifest, largest_file), manifest.string()))
      if (entry.name.starts_with("log-") && entry.name.ends_with(".txt")) names.insert(entry.name);
  } catch (const InputError&) {
    // There is none, or none that can be believed: its logs stay.
  }
  return names;
}

void synchronise(const fs::path& directory) {
  const Descriptor open(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (open.open()) ::fsync(open.get());
}

// Both names at once: whoever looks sees the one directory or the other. False where that cannot be had.
bool exchange(const fs::path& one, const fs::path& other) {
#if defined(__APPLE__)
  return ::renameatx_np(AT_FDCWD, one.c_str(), AT_FDCWD, other.c_str(), RENAME_SWAP) == 0;
#elif defined(RENAME_EXCHANGE)
  return ::renameat2(AT_FDCWD, one.c_str(), AT_FDCWD, other.c_str(), RENAME_EXCHANGE) == 0;
#else
  return static_cast<void>(one), static_cast<void>(other), false;
#endif
}

// A new directory beside `out`, filled and swapped for it. What is there and no bundle's gets a second name
// in the new directory before, so that at no moment it is missing.
class Swap {
 public:
  explicit Swap(const fs::path& out) : out_(out) {
    static std::atomic<unsigned> counter{0};
    beside_ = out.parent_path() / fmt::format(".plumbline-{}-{}.partial", ::getpid(), counter++);
  }
  Swap(const Swap&) = delete;
  Swap& operator=(const Swap&) = delete;
  ~Swap() {
    std::error_code ignored;
    if (made_) fs::remove_all(beside_, ignored);
  }

  bool done(const std::vector<File>& files) {
    std::error_code why;
    if (is_here() || !out_.has_relative_path()) return false;
    const std::set<std::string> older = older_bundle(out_);
    made_ = fs::create_directory(beside_, out_, why);  // with the same permissions
    if (!made_ || why) return false;
    for (const File& file : files) write_atomically(beside_ / file.name, file.content);
    for (const auto& entry : fs::directory_iterator(out_, why)) {
      const fs::path name = entry.path().filename();
      const bool regular = entry.symlink_status(why).type() == fs::file_type::regular;
      if (why || !regular) return false;
      if (older.contains(name.string())) continue;
      fs::create_hard_link(entry.path(), beside_ / name, why);
      if (why) return false;
    }
    if (why) return false;
    synchronise(beside_);
    if (!exchange(beside_, out_)) return false;
    synchronise(out_.parent_path());
    keep_what_came_meanwhile(older);
    return true;
  }

 private:
  // Who stands in the directory, a shell or this program, would stand in a removed one.
  bool is_here() const {
    std::error_code why;
    const auto inside = fs::current_path(why).lexically_relative(out_);
    return why || inside.empty() || *inside.begin() != "..";
  }

  // A second name of the same file is left as it is by renaming it to the first; a file that was put there
  // since the names were given, new or in place of another, comes along.
  void keep_what_came_meanwhile(const std::set<std::string>& older) {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(beside_, ignored)) {
      const fs::path name = entry.path().filename();
      if (!older.contains(name.string())) fs::rename(entry.path(), out_ / name, ignored);
    }
  }

  fs::path out_, beside_;
  bool made_ = false;
};

// Where there is no swapping: the manifest and the document are taken away first, and the manifest comes
// last, so that no mixture of two bundles has one.
void write_in_place(const std::vector<File>& files, const fs::path& out) {
  std::set<std::string> stale = older_bundle(out);
  std::error_code why;
  // What cannot be replaced is found before anything is taken away.
  std::set<std::string> touched = stale;
  for (const File& file : files) touched.insert(file.name);
  for (const std::string& name : touched)
    if (fs::is_directory(fs::symlink_status(out / name, why)))
      refuse(out / name, "cannot be replaced", std::make_error_code(std::errc::is_a_directory));
  for (const char* first : {manifest_name, "result.json", "collection.json"}) {
    fs::remove(out / first, why);
    if (why) refuse(out / first, "cannot be replaced", why);
    stale.erase(first);
  }
  for (const File& file : files) stale.erase(file.name);
  for (const std::string& name : stale) {
    fs::remove(out / name, why);
    if (why) refuse(out / name, "cannot be taken away", why);
  }
  for (const File& file : files) write_atomically(out / file.name, file.content);
}

}  // namespace

void write_bundle(const std::vector<File>& files, const fs::path& directory) {
  std::vector<Entry> entries;
  for (const File& file : files) entries.push_back(entry_of(file));
  // The document itself comes last but for the manifest.
  std::vector<File> ordered(files.begin() + 1, files.end());
  ordered.push_back(files.front());
  ordered.push_back({manifest_name, to_manifest(entries)});
  const fs::path out = made(directory);
  const Uninterrupted whole;
  if (!Swap(out).done(ordered)) write_in_place(ordered, out);
}

}  // namespace plumbline::reports
