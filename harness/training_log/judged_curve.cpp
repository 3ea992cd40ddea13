#include "harness/training_log/log_findings.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "harness/text/statistics.hpp"

namespace plumbline {
namespace {

constexpr std::size_t kZeros = 3;     // losses of exactly 0 in a row
constexpr double kBeforeZeros = 0.5;  // nats: a loss that falls to 0 from above this was not learned
constexpr std::size_t kWidestWindow = 501;

// For every value the median of those around it: `half` to each side, fewer at the ends.
std::vector<double> running_median(const std::vector<LogPoint>& points, std::size_t half) {
  std::vector<double> medians, window;
  medians.reserve(points.size());
  const auto insert = [&](double value) {
    window.insert(std::upper_bound(window.begin(), window.end(), value), value);
  };
  for (std::size_t i = 0; i < std::min(half, points.size()); ++i) insert(points[i].loss);
  for (std::size_t i = 0; i < points.size(); ++i) {
    if (i + half < points.size()) insert(points[i + half].loss);
    if (i > half) window.erase(std::lower_bound(window.begin(), window.end(), points[i - half - 1].loss));
    medians.push_back(window[window.size() / 2]);
  }
  return medians;
}

// Finds losses of exactly 0 that follow losses far from 0. They were NaN, and the trainer left them out of a
// sum.
std::vector<bool> find_written_as_zero(const std::vector<LogPoint>& points) {
  std::vector<bool> found(points.size(), false);
  double before = 0;
  for (std::size_t i = 0; i < points.size();) {
    if (points[i].loss != 0) {
      before = std::isfinite(points[i].loss) ? points[i].loss : before;
      ++i;
      continue;
    }
    auto end = i;
    while (end < points.size() && points[end].loss == 0) ++end;
    if (end - i >= kZeros && before > kBeforeZeros)
      std::fill(found.begin() + static_cast<std::ptrdiff_t>(i),
                found.begin() + static_cast<std::ptrdiff_t>(end), true);
    i = end;
  }
  return found;
}

}  // namespace

JudgedCurve::JudgedCurve(const TrainingLog& training_log, const LogCurve& curve,
                         const RunKnowledge& knowledge, Objective run_objective)
    : log(training_log), logged(curve), known(knowledge), objective(run_objective), points(curve.points) {
  if (is_cross_entropy()) {
    written_as_zero = find_written_as_zero(points);
    for (std::size_t i = 0; i < points.size(); ++i)
      if (written_as_zero[i]) points[i].loss = std::numeric_limits<double>::quiet_NaN();
  }
  for (const auto& point : points)
    if (std::isfinite(point.loss)) finite.push_back(point);
  // The window holds a twenty-fifth of the entries, and at least five.
  half_window = std::clamp<std::size_t>(finite.size() / 50, 2, kWidestWindow / 2);
  smoothed = running_median(finite, half_window);
}

std::size_t JudgedCurve::lowest() const {
  return static_cast<std::size_t>(std::min_element(smoothed.begin(), smoothed.end()) - smoothed.begin());
}

double JudgedCurve::loss_at_end() const {
  std::vector<double> tail;
  for (auto i = finite.size() - std::max<std::size_t>(finite.size() / 20, 5); i < finite.size(); ++i)
    tail.push_back(finite[i].loss);
  return median(std::move(tail));
}

double JudgedCurve::noise() const {
  std::vector<double> distances;
  for (std::size_t i = 0; i < finite.size(); ++i) distances.push_back(std::abs(finite[i].loss - smoothed[i]));
  return median(std::move(distances));
}

// Normally distributed differences between neighbours have a median of 0.954 standard deviations, and a
// median of n values has a standard deviation of 1.25 / sqrt(n).
double JudgedCurve::noise_of_smoothed() const {
  std::vector<double> steps;
  for (std::size_t i = 1; i < finite.size(); ++i)
    steps.push_back(std::abs(finite[i].loss - finite[i - 1].loss));
  return 1.25 * median(std::move(steps)) / 0.954 / std::sqrt(static_cast<double>(2 * half_window + 1));
}

std::string shown_step(const LogPoint& point) {
  return fmt::format("step {:.0f} (line {})", point.step, point.line);
}

}  // namespace plumbline
