// Starts each program, and says why it could not do what was asked.
#include <fmt/core.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <new>

#include "harness/cli/commands.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/interruption.hpp"
#include "harness/system/output.hpp"

namespace plumbline {
namespace {

namespace fs = std::filesystem;

constexpr int kCannotJudge = 2;

// OpenMP's threads spin while they wait for each other. Where other programs want the same cores, each wait
// then costs a time slice: measured here, a verification took 55 s instead of 10 s beside one busy neighbour.
// Without any spinning, a run on an idle machine takes a third longer (19.3 s instead of 13.2 s), so they
// spin for a moment. The library reads its settings when it is loaded, so the program starts itself anew with
// them; settings of the user's own stay.
void wait_without_spinning(char** values) {
  if (std::getenv("OMP_WAIT_POLICY") != nullptr || std::getenv("GOMP_SPINCOUNT") != nullptr) return;
  setenv("OMP_WAIT_POLICY", "passive", 0);
  setenv("GOMP_SPINCOUNT", "5000", 0);
  execv("/proc/self/exe", values);  // if this fails, the program goes on as it is
}

// A pass frees tensors that the next one wants again. By default most of that memory goes back to the system
// in between, and each page is fetched anew: 190,000 pages in a verification of `tiny`, a sixth of its time.
void keep_freed_memory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 32 << 20);
  mallopt(M_TRIM_THRESHOLD, 256 << 20);
  mallopt(M_TOP_PAD, 16 << 20);
#endif
}

// Where fixtures/ and golden/ are: beside an installed program, or in the tree it was built from.
fs::path data_directory() {
  std::error_code ignored;
  const auto program = fs::read_symlink("/proc/self/exe", ignored);
  const auto installed = program.parent_path().parent_path() / PLUMBLINE_DATADIR;
  if (!program.empty() && fs::is_directory(installed / "fixtures", ignored)) return installed;
  if (fs::is_directory(fs::path(PLUMBLINE_SOURCE_DIR) / "fixtures", ignored)) return PLUMBLINE_SOURCE_DIR;
  throw InputError(fmt::format("neither {} nor {} has Plumbline's fixtures; install Plumbline again",
                               installed.string(), PLUMBLINE_SOURCE_DIR));
}

}  // namespace
}  // namespace plumbline

int main(int count, char** values) {
  plumbline::wait_without_spinning(values);
  plumbline::keep_freed_memory();
  plumbline::clean_up_when_interrupted();
  std::signal(SIGXFSZ, SIG_IGN);  // a limit on the size of files is then an error like a full disk
  std::string reason;
  try {
    const auto status =
        plumbline::run_command_line(count, values, PLUMBLINE_VERSION, plumbline::data_directory,
                                    plumbline::status_help, plumbline::add_commands);
    if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return status;
    reason = "standard output cannot be written to: the output is lost; write it elsewhere";
  } catch (const plumbline::InputError& error) {
    reason = error.what();
  } catch (const std::bad_alloc&) {
    reason = "out of memory; use a smaller model or batch, or a machine with more memory";
  } catch (const std::exception& error) {
    reason = std::string("internal error: ") + error.what();
  }
  plumbline::wait_if_ending();
  plumbline::print_error("plumbline: {}\n", plumbline::printable(reason.substr(0, reason.find('\n')), 8000));
  return plumbline::kCannotJudge;
}
