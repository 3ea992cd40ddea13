#include <filesystem>
#include <system_error>

#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/interruption.hpp"
#include "reports/result.hpp"
#include "reports/text.hpp"

namespace plumbline::reports {
namespace {

[[noreturn]] void refuse(const std::filesystem::path& path, const std::string& what,
                         const std::error_code& why) {
  throw InputError(visible(path.string()) + " " + what + ": " + why.message() +
                   "; choose another directory with --out DIR");
}

}  // namespace

// result.json is taken away first and comes last: a directory that has it has three documents of one run.
void write(const Result& result, const std::string& directory) {
  const std::string json = to_json(result);
  const std::string junit = to_junit(result);
  const std::string markdown = to_markdown(result);
  const std::filesystem::path out = directory;
  std::error_code why;
  std::filesystem::create_directories(out, why);
  if (why) refuse(out, "cannot be made", why);
  if (!std::filesystem::is_directory(out, why)) {
    refuse(out, "cannot take the results", std::make_error_code(std::errc::not_a_directory));
  }
  const Uninterrupted whole;
  std::filesystem::remove(out / "result.json", why);
  if (why) refuse(out / "result.json", "cannot be replaced", why);
  write_atomically(out / "result.xml", junit);
  write_atomically(out / "summary.md", markdown);
  write_atomically(out / "result.json", json);
}

}  // namespace plumbline::reports
