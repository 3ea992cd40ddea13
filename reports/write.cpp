#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <set>
#include <system_error>
#include <thread>

#if defined(__linux__)
#include <sys/xattr.h>
#endif

#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/interruption.hpp"
#include "harness/system/visible.hpp"
#include "reports/bundle.hpp"
#include "reports/collection.hpp"

namespace plumbline::reports {
namespace {

namespace fs = std::filesystem;

constexpr std::array documents = {"result.json", "collection.json"};

[[noreturn]] void refuse(const fs::path& path, const std::string& what, const std::error_code& why) {
  throw InputError(visible(path.string()) + " " + what + ": " + why.message() +
                   "; choose another directory with --out DIR");
}

// The directory as it is, whatever links lead to it; made if missing.
fs::path make_directory(const fs::path& directory) {
  std::error_code why;
  fs::create_directories(directory, why);
  if (why) refuse(directory, "cannot be made", why);
  if (!fs::is_directory(directory, why))
    refuse(directory, "cannot take the results", std::make_error_code(std::errc::not_a_directory));
  const fs::path real = fs::canonical(directory, why);
  if (why) refuse(directory, "cannot be found", why);
  return real;
}

// The names of an older bundle's files in the directory: those that its manifest lists, and a document, which
// names its own format. All other files are somebody else's.
std::set<std::string> older_bundle(const fs::path& out) {
  std::set<std::string> names;
  try {
    const fs::path manifest = out / manifest_name;
    const std::set<std::string> known = names_of_bundles();
    for (const std::string& name : claimed(read_text(manifest, largest_file), manifest.string()))
      if (known.contains(name) || (name.starts_with("log-") && name.ends_with(".txt"))) names.insert(name);
    names.insert(manifest_name);
  } catch (const InputError&) {
    // There is none, or none that can be believed.
  }
  for (const char* document : documents) try {
      if (!names.contains(document) && is_document(read_text(out / document, largest_file)))
        names.insert(document);
    } catch (const InputError&) {
      continue;
    }
  return names;
}

// Errors: InputError where a file is in the way that is not an older bundle's. Nothing has been changed then.
void require_room(const fs::path& out, const std::set<std::string>& older,
                  const std::set<std::string>& wanted) {
  std::error_code why;
  for (const std::string& name : wanted) {
    const fs::file_status status = fs::symlink_status(out / name, why);
    if (!fs::exists(status)) continue;
    if (fs::is_directory(status))
      refuse(out / name, "cannot be replaced", std::make_error_code(std::errc::is_a_directory));
    if (!older.contains(name))
      throw InputError(
          fmt::format("{} would be replaced, and no manifest.json beside it lists it as part of a Plumbline "
                      "bundle; choose another directory with --out DIR, or move it away",
                      visible((out / name).string())));
  }
}

std::set<std::string> names_of(const std::vector<File>& files) {
  std::set<std::string> names;
  for (const File& file : files) names.insert(file.name);
  return names;
}

void synchronise(const fs::path& directory) {
  const Descriptor descriptor(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (descriptor.is_open()) ::fsync(descriptor.get());
}

// Swaps two directories in one step: readers see the one or the other. False where the system cannot do that.
bool exchange(const fs::path& one, const fs::path& other) {
#if defined(__APPLE__)
  return ::renameatx_np(AT_FDCWD, one.c_str(), AT_FDCWD, other.c_str(), RENAME_SWAP) == 0;
#elif defined(RENAME_EXCHANGE)
  return ::renameat2(AT_FDCWD, one.c_str(), AT_FDCWD, other.c_str(), RENAME_EXCHANGE) == 0;
#else
  return static_cast<void>(one), static_cast<void>(other), false;
#endif
}

// One writer at a time in a directory; between machines only where the file system has such locks.
class WriterLock {
 public:
  explicit WriterLock(const fs::path& out) {
    // While this writer waits, another one may swap the directory; then it opens the new one.
    do {
      held_ = Descriptor(::open(out.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      wait(out);
    } while (held_.is_open() && !holds(out));
  }

 private:
  void wait(const fs::path& out) const {
    using namespace std::chrono_literals;
    const auto until = std::chrono::steady_clock::now() + 30s;
    while (held_.is_open() && !try_lock(held_)) {
      if (std::chrono::steady_clock::now() > until)
        throw InputError(
            visible(out.string()) +
            " is being written to by another call; wait until it has ended, or choose another directory "
            "with --out DIR");
      std::this_thread::sleep_for(10ms);
    }
  }

  bool holds(const fs::path& out) const {
    struct stat held {
    }, there{};
    return ::fstat(held_.get(), &held) != 0 || ::stat(out.c_str(), &there) != 0 ||
           (held.st_ino == there.st_ino && held.st_dev == there.st_dev);
  }

  Descriptor held_;
};

// Removes what killed programs left behind an hour ago or longer: partial files, and directories that were to
// be swapped. A file that may be the only copy of something stays.
void remove_leftovers(const fs::path& directory) {
  std::error_code ignored;
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(directory, ignored)) {
    struct stat status {};
    if (is_partial(entry.path()) && ::lstat(entry.path().c_str(), &status) == 0 &&
        status.st_uid == ::geteuid() && status.st_mtime < std::time(nullptr) - 3600)
      found.push_back(entry.path());
  }
  for (const fs::path& path : found) {
    if (fs::symlink_status(path, ignored).type() == fs::file_type::directory) {
      const std::set<std::string> bundle_names = older_bundle(path);
      for (const auto& entry : fs::directory_iterator(path, ignored)) {
        const fs::path name = entry.path().filename();
        const bool elsewhere = fs::hard_link_count(entry.path(), ignored) > 1;
        if (entry.symlink_status(ignored).type() == fs::file_type::regular &&
            (elsewhere || is_partial(entry.path()) || bundle_names.contains(name.string())))
          fs::remove(entry.path(), ignored);
      }
    }
    fs::remove(path, ignored);  // a directory only if it is empty now
  }
}

// Whether the directory has access lists or the like, which a new directory would not have.
bool has_more_than_permissions(const fs::path& directory) {
#if defined(__linux__)
  std::string names(1U << 16U, '\0');
  const ssize_t bytes = ::listxattr(directory.c_str(), names.data(), names.size());
  if (bytes < 0) return errno != ENOTSUP;
  names.resize(static_cast<std::size_t>(bytes));
  return !names.empty() && names != std::string("security.selinux") + '\0';
#else
  return static_cast<void>(directory), false;
#endif
}

// A directory with the owner, the group and the permissions of another. False where that is not possible.
bool make_like(const fs::path& directory, const fs::path& other) {
  struct stat wanted {
  }, is{};
  if (::stat(other.c_str(), &wanted) != 0 || has_more_than_permissions(other) ||
      ::mkdir(directory.c_str(), 0700) != 0)
    return false;
  const bool owned =
      ::stat(directory.c_str(), &is) == 0 && ((is.st_uid == wanted.st_uid && is.st_gid == wanted.st_gid) ||
                                              ::chown(directory.c_str(), wanted.st_uid, wanted.st_gid) == 0);
  if (owned && ::chmod(directory.c_str(), wanted.st_mode & 07777U) == 0 &&
      ::stat(directory.c_str(), &is) == 0 && is.st_mode == wanted.st_mode)
    return true;
  ::rmdir(directory.c_str());
  return false;
}

// Fills a new directory beside `out` and swaps the two. Files in `out` that are no bundle's get hard links in
// the new directory first, so that they are never missing.
class Swap {
 public:
  explicit Swap(const fs::path& out) : out_(out), beside_(partial_in(out.parent_path())) {}
  Swap(const Swap&) = delete;
  Swap& operator=(const Swap&) = delete;
  ~Swap() {
    std::error_code ignored;
    if (made_) fs::remove_all(beside_, ignored);
  }

  bool write(const std::vector<File>& files, const std::set<std::string>& older) {
    std::error_code why;
    if (holds_working_directory() || !out_.has_relative_path()) return false;
    made_ = make_like(beside_, out_);
    if (!made_) return false;
    const Descriptor held(::open(beside_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!held.is_open() || !try_lock(held)) return false;  // until all is done, also after the swap
    write_atomically(beside_ / manifest_name, to_claim(names_of(files)));
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
    keep_newer_files(older);
    return true;
  }

 private:
  // A program that runs in this directory would find itself in a removed one.
  bool holds_working_directory() const {
    std::error_code why;
    const auto inside = fs::current_path(why).lexically_relative(out_);
    return why || inside.empty() || *inside.begin() != "..";
  }

  // Brings along files that were written since the hard links were made. Renaming a link to a file onto
  // another link to it changes nothing.
  void keep_newer_files(const std::set<std::string>& older) {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(beside_, ignored)) {
      const fs::path name = entry.path().filename();
      if (!older.contains(name.string())) fs::rename(entry.path(), out_ / name, ignored);
    }
  }

  fs::path out_, beside_;
  bool made_ = false;
};

// Writes without a swap. First the manifest says that a bundle is being written; then the old document is
// removed; the new manifest comes last, so that no mixture of two bundles has one.
void write_in_place(const std::vector<File>& files, const fs::path& out, const std::set<std::string>& older) {
  const std::set<std::string> written = names_of(files);
  std::set<std::string> all = written;
  all.insert(older.begin(), older.end());
  write_atomically(out / manifest_name, to_claim(all));
  for (const std::string& name : older) {
    std::error_code why;
    const bool is_document = std::find(documents.begin(), documents.end(), name) != documents.end();
    if (is_document || !written.contains(name)) fs::remove(out / name, why);
    if (why) refuse(out / name, "cannot be taken away", why);
  }
  for (const File& file : files) write_atomically(out / file.name, file.content);
}

}  // namespace

void require_room_for_bundle(const fs::path& directory) {
  std::error_code ignored;
  if (fs::exists(directory, ignored)) require_room(directory, older_bundle(directory), names_of_bundles());
}

void write_bundle(const std::vector<File>& files, const fs::path& directory) {
  std::vector<Entry> entries;
  for (const File& file : files) entries.push_back(entry_of(file));
  // The document itself comes last but for the manifest.
  std::vector<File> ordered(files.begin() + 1, files.end());
  ordered.push_back(files.front());
  ordered.push_back({manifest_name, to_manifest(entries)});
  const fs::path out = make_directory(directory);
  const WriterLock lock(out);
  const std::set<std::string> older = older_bundle(out);
  std::set<std::string> wanted = names_of_bundles();
  wanted.merge(names_of(ordered));
  require_room(out, older, wanted);
  const Uninterrupted whole;
  remove_leftovers(out.parent_path());
  remove_leftovers(out);
  if (!Swap(out).write(ordered, older)) write_in_place(ordered, out, older);
}

}  // namespace plumbline::reports
