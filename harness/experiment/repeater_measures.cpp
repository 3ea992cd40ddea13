#include "harness/experiment/repeater_measures.hpp"

#include <algorithm>
#include <cmath>

#include "harness/candidate/fast_reference.hpp"
#include "harness/candidate/generation.hpp"
#include "harness/text/repetition.hpp"

namespace plumbline {
namespace {

constexpr std::size_t kCurvePoints = 160;

Json repetition_of(const std::vector<std::vector<Token>>& texts) {
  Samples samples;
  samples.unit = "token ids";
  for (const auto& tokens : texts) {
    Sample sample;
    sample.tokens = tokens;
    samples.all.push_back(std::move(sample));
  }
  const auto repetition = measure_repetition(samples);
  Json all = Json::object();
  for (const auto* id : {"looping", "loop-share", "seq-rep-2", "seq-rep-4", "distinct-1", "longest-repeat"}) {
    const auto& metric = find_metric(repetition, id);
    all[id] = {{"value", metric.value ? Json(*metric.value) : Json()}};
    if (!metric.value || metric.kind == MetricKind::corpus) continue;
    if (const auto interval = interval_of(metric.shares, metric.kind == MetricKind::rate, 0.95, 1))
      all[id].update({{"low", interval->low}, {"high", interval->high}});
  }
  return all;
}

double mean_of(const std::vector<double>& values, std::size_t first, std::size_t last) {
  double sum = 0;
  for (std::size_t i = first; i < last; ++i) sum += values[i];
  return sum / static_cast<double>(last - first);
}

// The curve with at most kCurvePoints points: each is the mean of a stretch.
Json curve_of(const std::vector<double>& values) {
  Json points = Json::array();
  const auto count = std::min(kCurvePoints, values.size());
  for (std::size_t i = 0; i < count; ++i)
    points.push_back(
        std::round(1e4 * mean_of(values, values.size() * i / count, values.size() * (i + 1) / count)) / 1e4);
  return points;
}

// How unsteady a curve is: the standard deviation of the differences between the logarithms of neighbouring
// values.
double unsteadiness(const std::vector<double>& values, std::size_t first) {
  double squares = 0;
  for (std::size_t i = first + 1; i < values.size(); ++i)
    squares += std::pow(std::log(values[i] / values[i - 1]), 2);
  return std::sqrt(squares / static_cast<double>(values.size() - first - 1));
}

// The mean uncertainty of the text itself in some steps of training; empty: it is not known.
std::optional<double> floor_of_training(const RepeaterTask& task, const Recipe& recipe, std::size_t first,
                                        std::size_t last) {
  const auto& s = task.options.scale;
  double floor = 0;
  bool known = true;
  for (std::size_t step = first; step < last; ++step) {
    const auto batch =
        task.corpus.training_batch(recipe.seed, static_cast<std::int64_t>(step), s.batch, s.length);
    known = known && batch.floor.has_value();
    floor += batch.floor.value_or(0) / static_cast<double>(last - first);
  }
  return known ? std::optional(floor) : std::nullopt;
}

void measure_held_out_text(Json& result, const RepeaterTask& task, const Trainer& trainer,
                           bool floor_is_known) {
  const auto& s = task.options.scale;
  std::vector<at::Tensor> held_out;
  double floor = 0;
  for (std::int64_t i = 0; i < s.held_out_batches; ++i) {
    const auto batch = task.corpus.held_out_batch(i, s.batch, s.length);
    held_out.push_back(batch.tokens.to(task.options.device));
    floor += batch.floor.value_or(0) / static_cast<double>(s.held_out_batches);
  }
  result["held_out_loss"] = trainer.loss_on(at::stack(held_out), false);
  result["held_out_loss_as_trained"] = trainer.loss_on(at::stack(held_out), true);
  if (floor_is_known) result["held_out_floor"] = floor;
}

// How much the model repeats itself, greedy and sampled.
Json measure_writing(const RepeaterTask& task, const TrainedRun& trained) {
  const auto& s = task.options.scale;
  const auto& specification = trained.recipe.model.specification;
  const auto writer = make_engine(trained.run.name(), specification, s.compute, task.options.device);
  writer->load(trained.trainer.weights());
  Json measured;
  for (const double temperature : {0.0, 1.0}) {
    GenerationOptions options;
    options.sampling.temperature = temperature;
    options.seed = trained.recipe.seed;
    options.most_tokens = s.new_tokens;
    options.most_positions = specification.max_position_embeddings;
    options.vocabulary = specification.vocab_size;
    std::vector<std::vector<Token>> texts;
    for (auto& one : generate(*writer, task.prompts, options, [](std::int64_t, std::int64_t) {}))
      texts.push_back(std::move(one.tokens));
    measured[temperature == 0 ? "greedy" : "sampled"] = repetition_of(texts);
  }
  return measured;
}

}  // namespace

Json measure_run(const RepeaterTask& task, const TrainedRun& trained) {
  const auto& run = trained.run;
  const auto& course = trained.trainer.history();
  const auto steps = course.losses.size();
  Json levels = Json::object();
  for (std::size_t i = 0; i < kFactors; ++i) levels[factors()[i].id] = run.before[i] ? "before" : "after";
  Json result = {{"name", run.name()},
                 {"levels", levels},
                 {"seed", run.seed},
                 {"designed", run.designed},
                 {"parameters", trained.recipe.model.specification.parameter_count()},
                 {"curve", curve_of(course.losses)}};
  // Of the last twentieth of training.
  const auto late = steps - std::max<std::size_t>(1, steps / 20);
  result["training_loss"] = mean_of(course.losses, late, steps);
  const auto floor = floor_of_training(task, trained.recipe, late, steps);
  if (floor) result["training_floor"] = *floor;
  const auto warm = static_cast<std::size_t>(task.options.scale.warm_up);
  result["first_loss"] = course.losses.front();
  result["gradient_norm"] = {
      {"median", median({course.norms.begin() + static_cast<std::ptrdiff_t>(warm), course.norms.end()})},
      {"unsteadiness", unsteadiness(course.norms, warm)}};
  measure_held_out_text(result, task, trained.trainer, floor.has_value());
  result["writes"] = measure_writing(task, trained);
  return result;
}

Json measure_own_text(const RepeaterTask& task) {
  const auto& s = task.options.scale;
  std::vector<std::vector<Token>> next, likeliest;
  for (std::int64_t i = 0; i < s.prompts; ++i) {
    const auto begin = static_cast<std::ptrdiff_t>(s.prompt_tokens);
    const auto text = task.corpus.held_out_text(i, static_cast<std::size_t>(s.prompt_tokens + s.new_tokens));
    next.emplace_back(text.begin() + begin, text.end());
    auto best = task.corpus.likeliest_continuation(task.prompts[static_cast<std::size_t>(i)],
                                                   static_cast<std::size_t>(s.new_tokens));
    if (!best.empty()) likeliest.push_back(std::move(best));
  }
  Json all = {{"sampled", repetition_of(next)}};
  if (!likeliest.empty()) all["greedy"] = repetition_of(likeliest);
  return all;
}

}  // namespace plumbline
