#include "harness/cli/run_header.hpp"

#include <ATen/Parallel.h>
#include <fmt/chrono.h>
#include <fmt/format.h>
#include <hdf5.h>
#include <sys/utsname.h>
#include <torch/version.h>

#include <catch2/catch_version.hpp>
#include <ctime>

#include "harness/model/device.hpp"
#include "harness/system/files.hpp"
#include "harness/system/processors.hpp"

namespace plumbline {
namespace {

std::string system_name() {
  utsname system{};
  uname(&system);
  return fmt::format("{} {} {}", system.sysname, system.release, system.machine);
}

}  // namespace

reports::Header header_of(const RunContext& run, const Description& description, bool runs_code,
                          const std::string& requirements) {
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  reports::Header header;
  header.plumbline_version = run.version;
  header.specification = run.specification.name;
  header.specification_sha256 = run.specification.sha256;
  header.candidate = description.name;
  header.candidate_kind = description.kind;
  header.candidate_sha256 = description.sha256;
  header.notes = description.notes;
  header.device = runs_code ? run.device : reports::nothing_is_run;
  header.dtype = runs_code ? run.dtype : "as stored";
  header.threads = at::get_num_threads();
  header.seed = run.probes.seed;
  header.versions = {
      {"libtorch", TORCH_VERSION},
      {"catch2", fmt::format("{}.{}.{}", Catch::libraryVersion().majorVersion,
                             Catch::libraryVersion().minorVersion, Catch::libraryVersion().patchNumber)},
      {"hdf5", fmt::format("{}.{}.{}", major, minor, release)},
      {"compiler", __VERSION__},
      {"system", system_name()}};
  if (runs_code && run.device.starts_with("cuda")) {
    header.versions.emplace_back("cuda driver", cuda_device(0).driver);
    header.versions.emplace_back("cpu", cpu_name());
  }
  header.versions.emplace_back("requirements",
                               sha256_of_file(run.data / "fixtures" / requirements).substr(0, 16));
  header.commit = run.commit;
  header.started = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
  header.command = run.command;
  header.scope = "everything";
  return header;
}

std::vector<reports::File> logs_of(const std::vector<const Candidate*>& candidates) {
  std::vector<reports::File> logs;
  for (const auto* candidate : candidates)
    if (const auto log = candidate->log(); !log.empty()) logs.push_back(reports::log_of("candidate", log));
  return logs;
}

std::vector<reports::Requirement> of_chapter(const Recorder& recorder, int chapter) {
  auto all = recorder.requirements();
  std::erase_if(all, [&](const auto& requirement) { return requirement.chapter != chapter; });
  return all;
}

}  // namespace plumbline
