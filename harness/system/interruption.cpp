#include "harness/system/interruption.hpp"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

namespace plumbline {
namespace {

constexpr std::array ending_signals{SIGINT, SIGTERM, SIGHUP};

struct Pending {
  std::recursive_mutex mutex;
  std::vector<std::pair<const OnInterruption*, std::function<void()>>> undo;
};

// Never destroyed: the thread below outlives what is static.
Pending& pending() {
  static auto* all = new Pending;
  return *all;
}

// Raised in the thread that wrote to a pipe that nobody reads any more, as after `| head`, and passed on to
// the thread that waits, as a signal that it waits for.
std::atomic<bool> pipe_closed = false;
int passed_on_as = 0;

void pass_on(int) {
  pipe_closed = true;
  ::kill(::getpid(), passed_on_as);
}

void wait_for_signal(const sigset_t& signals) {
  int number = 0;
  if (::sigwait(&signals, &number) != 0) return;
  if (pipe_closed) number = SIGPIPE;
  {
    const std::lock_guard lock(pending().mutex);
    auto& undo = pending().undo;
    for (auto entry = undo.rbegin(); entry != undo.rend(); ++entry) entry->second();
    ::signal(number, SIG_DFL);
    sigset_t this_one;
    ::sigemptyset(&this_one);
    ::sigaddset(&this_one, number);
    ::pthread_sigmask(SIG_UNBLOCK, &this_one, nullptr);
    ::raise(number);  // within the lock: nobody begins anew meanwhile
  }
}

}  // namespace

OnInterruption::OnInterruption(std::function<void()> undo) {
  const std::lock_guard lock(pending().mutex);
  pending().undo.emplace_back(this, std::move(undo));
}

OnInterruption::~OnInterruption() {
  const std::lock_guard lock(pending().mutex);
  std::erase_if(pending().undo, [&](const auto& entry) { return entry.first == this; });
}

Uninterrupted::Uninterrupted() : lock_(pending().mutex) {}

void clean_up_when_interrupted() {
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int number : ending_signals) {
    struct sigaction action {};
    ::sigaction(number, nullptr, &action);
    if (action.sa_handler == SIG_IGN) continue;
    ::sigaddset(&signals, number);
    passed_on_as = number;
  }
  if (passed_on_as == 0) return;
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  struct sigaction action {};
  ::sigaction(SIGPIPE, nullptr, &action);
  if (action.sa_handler != SIG_IGN) ::signal(SIGPIPE, pass_on);
  std::thread(wait_for_signal, signals).detach();
}

void wait_if_ending() {
  while (pipe_closed) ::pause();
}

}  // namespace plumbline
