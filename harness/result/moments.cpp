#include "harness/result/moments.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <ctime>

#include "harness/result/waivers.hpp"

namespace plumbline::reports {

std::optional<std::int64_t> milliseconds_of(const std::string& moment) {
  if (moment.size() != 20 || moment[10] != 'T' || moment[13] != ':' || moment[16] != ':' ||
      moment[19] != 'Z' || !is_day(moment.substr(0, 10)))
    return {};
  const auto number = [&](std::size_t at, std::size_t count) {
    int value = 0;
    for (const char digit : moment.substr(at, count)) {
      if (digit < '0' || digit > '9') return -1;
      value = 10 * value + (digit - '0');
    }
    return value;
  };
  const int hour = number(11, 2), minute = number(14, 2), second = number(17, 2);
  if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60) return {};
  using namespace std::chrono;
  const sys_days day = year(number(0, 4)) / month(static_cast<unsigned>(number(5, 2))) /
                       std::chrono::day(static_cast<unsigned>(number(8, 2)));
  const auto since = day.time_since_epoch() + hours(hour) + minutes(minute) + seconds(second);
  return duration_cast<milliseconds>(since).count();
}

std::int64_t milliseconds_of(double seconds) {
  constexpr double most = 1000.0 * 366 * 86400;
  return seconds > 0 && seconds < most ? static_cast<std::int64_t>(seconds * 1000) : 0;
}

std::string moment_of(std::int64_t milliseconds) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(static_cast<std::time_t>(milliseconds / 1000)));
}

std::optional<std::int64_t> end_of(const Result& result) {
  const auto started = milliseconds_of(result.header.started);
  if (!started) return {};
  return *started + milliseconds_of(result.footer.seconds);
}

}  // namespace plumbline::reports
