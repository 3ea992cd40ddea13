#include "harness/system/child_process.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <system_error>

#include "harness/system/error.hpp"
#include "harness/system/process_memory.hpp"

extern char** environ;

namespace plumbline {
namespace {

[[noreturn]] void cannot_run(const std::string& program, int reason) {
  throw InputError(
      fmt::format("{}: cannot be run: {}", printable(program), std::generic_category().message(reason)));
}

// Moves a descriptor above the standard streams, whose numbers are reused where our own are closed.
Descriptor above_standard_streams(int number) {
  Descriptor descriptor(number);
  if (!descriptor.is_open() || number > STDERR_FILENO) return descriptor;
  return Descriptor(::fcntl(number, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
}

struct Pipe {
  Descriptor read, write;
};

Pipe make_pipe(const std::string& program) {
  int ends[2] = {-1, -1};
#ifdef __linux__
  const int status = ::pipe2(ends, O_CLOEXEC);
#else
  const int status = ::pipe(ends);
#endif
  if (status != 0) cannot_run(program, errno);
  Pipe made{above_standard_streams(ends[0]), above_standard_streams(ends[1])};
  if (!made.read.is_open() || !made.write.is_open()) cannot_run(program, errno);
  ::fcntl(made.read.get(), F_SETFD, FD_CLOEXEC);
  ::fcntl(made.write.get(), F_SETFD, FD_CLOEXEC);
  return made;
}

// Looked up before the fork: afterwards, with an address space limit set, nothing may be allocated.
std::string find_program(const std::string& program) {
  if (program.find('/') != std::string::npos) return program;
  const char* const set = std::getenv("PATH");
  std::string_view rest = set != nullptr ? set : "/usr/local/bin:/usr/bin:/bin";
  while (!program.empty() && !rest.empty()) {
    const std::string_view folder = rest.substr(0, rest.find(':'));
    rest.remove_prefix(std::min(rest.size(), folder.size() + 1));
    const std::string candidate = fmt::format("{}/{}", folder.empty() ? "." : folder, program);
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  cannot_run(program, ENOENT);
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

std::vector<std::string> environment_with(const Environment& changes) {
  std::vector<std::string> result;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const bool replaced = std::any_of(changes.begin(), changes.end(), [&](const auto& change) {
      return text.starts_with(change.first + "=");
    });
    if (!replaced) result.emplace_back(text);
  }
  for (const auto& [name, value] : changes) result.push_back(name + "=" + value);
  return result;
}

// What the child needs between fork and exec, where only async-signal-safe calls are allowed.
struct ExecPlan {
  const char* program;
  char** arguments;
  char** environment;
  const ChildLimits* limits;
  int input, output, errors, failure;
  pid_t parent;
};

bool set_limit(auto what, std::uint64_t value) {
  struct rlimit limit {};
  if (::getrlimit(what, &limit) != 0) return false;
  limit.rlim_max = std::min(limit.rlim_max, static_cast<rlim_t>(value));
  limit.rlim_cur = limit.rlim_max;
  return ::setrlimit(what, &limit) == 0;
}

bool exec_program(const ExecPlan& plan) {
  if (::setpgid(0, 0) != 0) return false;
#ifdef __linux__
  // For a SIGKILL of this process, which no handler sees.
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) return false;
  if (::getppid() != plan.parent) ::_exit(127);
#endif
  for (int number = 1; number < 32; ++number) ::signal(number, SIG_DFL);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  if (::dup2(plan.input, STDIN_FILENO) < 0 || ::dup2(plan.output, STDOUT_FILENO) < 0 ||
      ::dup2(plan.errors, STDERR_FILENO) < 0) {
    return false;
  }
#ifdef CLOSE_RANGE_CLOEXEC
  // For descriptors of libraries; our own have the flag already.
  ::close_range(STDERR_FILENO + 1, ~0u, CLOSE_RANGE_CLOEXEC);
#endif
  if (!set_limit(RLIMIT_CORE, 0) || !set_limit(RLIMIT_FSIZE, plan.limits->file_bytes)) return false;
  const std::uint64_t space = plan.limits->address_space_bytes;
  if (space > 0 && !set_limit(RLIMIT_AS, space)) return false;
  ::execve(plan.program, plan.arguments, plan.environment);
  return false;
}

[[noreturn]] void exec_or_report(const ExecPlan& plan) {
  exec_program(plan);
  const int reason = errno;
  // A failure to report cannot be reported.
  [[maybe_unused]] const ssize_t ignored = ::write(plan.failure, &reason, sizeof reason);
  ::_exit(127);
}

// The errno with which the program could not be started, or 0: exec closes the pipe on success.
int read_start_error(int failure) {
  int reason = 0;
  ssize_t count = 0;
  do {
    count = ::read(failure, &reason, sizeof reason);
  } while (count < 0 && errno == EINTR);
  return count == sizeof reason ? reason : 0;
}

// Reads available data, at most what a pipe can hold, so that no writer can block us.
void drain(Descriptor& from, std::string& to, std::uint64_t keep) {
  std::array<char, 65536> chunk;
  for (int rounds = 0; from.is_open() && rounds < 16; ++rounds) {
    const ssize_t count = ::read(from.get(), chunk.data(), chunk.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0) return from.close();
    to.append(chunk.data(), std::min<std::size_t>(static_cast<std::size_t>(count), keep - to.size()));
  }
}

bool has_ended(pid_t child) {
  siginfo_t seen{};
  int status = 0;
  do {
    // Not reaped: as long as it is a zombie, its process group's number is not reused.
    status = ::waitid(P_PID, static_cast<id_t>(child), &seen, WEXITED | WNOHANG | WNOWAIT);
  } while (status != 0 && errno == EINTR);
  return status != 0 || seen.si_pid == child;
}

}  // namespace

Child::Child(const std::vector<std::string>& arguments, const ChildLimits& limits,
             const Environment& environment, bool answering)
    : limits_(limits), answering_(answering) {
  if (arguments.empty()) cannot_run("(nothing)", ENOENT);
  const std::string program = find_program(arguments[0]);
  std::vector<std::string> words = arguments;
  std::vector<std::string> settings = environment_with(environment);
  std::vector<char*> word_pointers = pointers(words);
  std::vector<char*> setting_pointers = pointers(settings);
  Pipe output = make_pipe(program), errors = make_pipe(program), failure = make_pipe(program);
  Pipe input_pipe =
      answering ? make_pipe(program)
                : Pipe{above_standard_streams(::open("/dev/null", O_RDONLY | O_CLOEXEC)), Descriptor()};
  if (!input_pipe.read.is_open()) cannot_run(program, errno);
  for (const auto* ours : {&output.read, &errors.read, &input_pipe.write})
    if (ours->is_open()) ::fcntl(ours->get(), F_SETFL, O_NONBLOCK);
  const ExecPlan plan{
      program.c_str(),    word_pointers.data(), setting_pointers.data(), &limits,   input_pipe.read.get(),
      output.write.get(), errors.write.get(),   failure.write.get(),     ::getpid()};
  {
    const Uninterrupted uninterrupted;
    process_ = ::fork();
    if (process_ < 0) cannot_run(program, errno);
    if (process_ == 0) exec_or_report(plan);
    ::setpgid(process_, process_);  // in both processes, since either may run first
    on_interruption_.emplace([group = process_] { ::kill(-group, SIGKILL); });
  }
  output.write.close();
  errors.write.close();
  failure.write.close();
  output_ = std::move(output.read);
  errors_ = std::move(errors.read);
  input = std::move(input_pipe.write);
  const int reason = read_start_error(failure.read.get());
  if (reason == 0) return;
  end();
  cannot_run(program, reason);
}

bool Child::ended_by_itself() const {
  return has_ended(process_);
}

bool Child::takes_too_much_memory() const {
  return limits_.resident_bytes > 0 && resident_bytes(process_) > limits_.resident_bytes;
}

std::uint64_t Child::peak_bytes() const {
  return process_ > 0 ? peak_resident_bytes(process_) : 0;
}

void Child::wait(bool writing) {
  // poll ignores closed ends (-1). The timeout notices an end of the child that leaves its pipes open.
  std::array<pollfd, 3> ends{pollfd{output_.get(), POLLIN, 0}, pollfd{errors_.get(), POLLIN, 0},
                             pollfd{writing ? input.get() : -1, POLLOUT, 0}};
  ::poll(ends.data(), ends.size(), 5);
}

void Child::drain_all() {
  // One byte more than the limit, which shows that a line is too long.
  drain(output_, result.output, answering_ ? limits_.output_bytes + 1 : limits_.output_bytes);
  if (!answering_) return drain(errors_, result.errors, limits_.output_bytes);
  constexpr std::size_t kept = 64 << 10;
  drain(errors_, result.errors, result.errors.size() + (1 << 20));
  if (result.errors.size() > kept) result.errors.erase(0, result.errors.size() - kept);
}

void Child::end() {
  if (process_ <= 0) return;
  ::kill(-process_, SIGKILL);
  ::kill(process_, SIGKILL);
  drain_all();
  on_interruption_.reset();  // before its number can be reused
  int status = 0;
  pid_t reaped = -1;
  do {
    reaped = ::waitpid(process_, &status, 0);
  } while (reaped < 0 && errno == EINTR);
  if (reaped == process_ && WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  if (reaped == process_ && WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  process_ = 0;
}

}  // namespace plumbline
