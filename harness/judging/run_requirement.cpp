#include "harness/judging/run_requirement.hpp"

#include <ATen/Context.h>
#include <c10/util/Exception.h>

#include <chrono>

#include "harness/candidate/candidate.hpp"
#include "harness/evidence/compare.hpp"

namespace plumbline {

std::string one_line(const std::exception& exception) {
  std::string message = exception.what();
  if (const auto* from_torch = dynamic_cast<const c10::Error*>(&exception))
    message = from_torch->what_without_backtrace();
  return message.substr(0, message.find('\n'));
}

void run_requirement(Recorder& recorder, const Progress& progress, const std::string& id,
                     const std::string& title, std::uint32_t seed, const std::function<void()>& look) {
  using Clock = std::chrono::steady_clock;
  const auto start = Clock::now();
  at::manual_seed(seed);  // so that a shard draws the same numbers as a whole run
  recorder.begin(id);
  progress.begin(id, title);
  try {
    look();
  } catch (const NotShown& why) {
    recorder.not_assessed(one_line(why));
  } catch (const CacheOverrun& refusal) {
    // The one test that overruns a cache on purpose catches this itself (overrun_cache).
    auto check =
        compare_text("the KV cache", "refused: " + one_line(refusal), "room for what it was opened for");
    check.within = false;
    recorder.add(std::move(check));
  } catch (const std::exception& error) {
    recorder.error(one_line(error));
  }
  progress.end(recorder.end(std::chrono::duration<double>(Clock::now() - start).count()));
}

}  // namespace plumbline
