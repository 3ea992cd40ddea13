#include "harness/system/child.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>

#include "harness/system/child_process.hpp"
#include "harness/system/files.hpp"

namespace plumbline {
namespace {

using Clock = std::chrono::steady_clock;

// Writing to a child that has ended fails without SIGPIPE.
ssize_t write_to_child(int input, std::string_view bytes) {
  sigset_t broken, before, raised;
  ::sigemptyset(&broken);
  ::sigaddset(&broken, SIGPIPE);
  ::pthread_sigmask(SIG_BLOCK, &broken, &before);
  const ssize_t count = ::write(input, bytes.data(), bytes.size());
  if (count < 0 && errno == EPIPE && !::sigismember(&before, SIGPIPE) && ::sigpending(&raised) == 0 &&
      ::sigismember(&raised, SIGPIPE)) {
    int number = 0;
    ::sigwait(&broken, &number);
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return count;
}

}  // namespace

ChildResult run_child(const std::vector<std::string>& arguments, const ChildLimits& limits,
                      const Environment& environment) {
  Child child(arguments, limits, environment, /*answering=*/false);
  const Clock::time_point deadline = Clock::now() + limits.time;
  while (!child.ended_by_itself()) {
    if (Clock::now() >= deadline) {
      child.result.timed_out = true;
      break;
    }
    child.wait(/*writing=*/false);
    child.drain_all();
  }
  child.end();
  return child.result;
}

struct Conversation::State {
  State(const std::vector<std::string>& arguments, const ChildLimits& given, const Environment& environment)
      : child(arguments, given, environment, /*answering=*/true), limits(given) {}

  [[noreturn]] void end_with(const std::string& how) {
    child.end();
    throw ChildEnded(how);
  }

  [[noreturn]] void end_with_its_status() {
    child.end();
    const auto& result = child.result;
    if (result.signal != 0)
      end_with(fmt::format("was stopped by signal {} ({})", result.signal, strsignal(result.signal)));
    end_with(fmt::format("ended with status {} instead of answering", result.exit_code));
  }

  // The first line of what was read, if it is complete.
  std::optional<std::string> next_line() {
    auto& output = child.result.output;
    const auto end = output.find('\n');
    if (end == std::string::npos) return std::nullopt;
    auto first = output.substr(0, end);
    output.erase(0, end + 1);
    return first;
  }

  Child child;
  ChildLimits limits;
};

Conversation::Conversation(const std::vector<std::string>& arguments, const ChildLimits& limits,
                           const Environment& environment)
    : state_(std::make_unique<State>(arguments, limits, environment)) {}

Conversation::~Conversation() = default;

std::chrono::milliseconds Conversation::limit() const {
  return state_->limits.time;
}

std::string Conversation::ask(const std::string& line, std::chrono::milliseconds time) {
  auto& [child, limits] = *state_;
  if (!child.running()) throw ChildEnded("is not running any more");
  child.drain_all();
  if (!child.result.output.empty())
    state_->end_with(fmt::format("wrote '{}' without being asked", printable(child.result.output, 80)));
  const std::string message = line + "\n";
  const auto begin = Clock::now();
  auto memory_seen = begin;
  for (std::size_t sent = 0;;) {
    if (sent < message.size()) {
      const ssize_t count = write_to_child(child.input.get(), std::string_view(message).substr(sent));
      if (count > 0) sent += static_cast<std::size_t>(count);
    }
    // Tested before reading, so that its last output is still read.
    const bool ended = child.ended_by_itself();
    child.drain_all();
    if (auto answer = state_->next_line()) return *answer;
    if (child.result.output.size() > limits.output_bytes)
      state_->end_with(fmt::format("answered more than {} bytes in one line", limits.output_bytes));
    if (ended) state_->end_with_its_status();
    const auto now = Clock::now();
    if (now - begin >= time)
      state_->end_with(fmt::format("gave no answer within {} s",
                                   std::chrono::duration_cast<std::chrono::seconds>(time).count()));
    if (now - memory_seen >= std::chrono::milliseconds(100)) {
      memory_seen = now;
      if (child.takes_too_much_memory())
        state_->end_with(fmt::format("took more than {} MiB of memory", limits.resident_bytes >> 20));
    }
    child.wait(sent < message.size());
  }
}

bool Conversation::wait_for_end(std::chrono::milliseconds time) {
  auto& child = state_->child;
  child.input.close();
  const auto deadline = Clock::now() + time;
  while (child.running() && !child.ended_by_itself() && Clock::now() < deadline) {
    child.wait(/*writing=*/false);
    child.drain_all();
  }
  const bool ended = child.running() && child.ended_by_itself();
  child.end();
  return ended && child.result.exit_code == 0;
}

std::uint64_t Conversation::peak_bytes() const {
  return state_->child.peak_bytes();
}

const std::string& Conversation::errors() const {
  return state_->child.result.errors;
}

}  // namespace plumbline
