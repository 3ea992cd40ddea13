#include "harness/experiment/repeater.hpp"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <exception>
#include <mutex>
#include <thread>

#include "harness/candidate/fast_reference.hpp"
#include "harness/candidate/generation.hpp"
#include "harness/evidence/safetensors.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.hpp"
#include "harness/text/repetition.hpp"

namespace plumbline {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr auto kBetweenStates = std::chrono::seconds(15);
constexpr int kPartOfSaving = 20;  // a state of gigabytes is written less often: not in more of the time
constexpr std::size_t kCurvePoints = 160;
constexpr std::uint64_t kLargestRun = 16 << 20;  // bytes of a run's results

template <typename T>
T value_of(const Json& object, const char* key, const std::string& where) {
  if (!object.is_object() || !object.contains(key))
    throw InputError(fmt::format("{}: has no '{}'", where, key));
  try {
    return object[key].get<T>();
  } catch (const JsonError&) {
    throw InputError(fmt::format("{}: '{}' has another type than expected", where, key));
  }
}

// What makes a run what it is: whoever changes any of it has another experiment.
Json settings_of(const RepeaterOptions& options, const Corpus& corpus) {
  const auto& s = options.scale;
  return {{"scale", s.name},
          {"after", s.after.sha256},
          {"before", s.before.sha256},
          {"text", corpus.sha256()},
          {"source",
           {s.source.successors, s.source.loose, s.source.zipf, s.source.copying, s.source.copy_length,
            s.source.copy_distance, s.source.seed}},
          {"eps", s.optimiser.eps},
          {"device", options.device.is_cuda() ? "cuda" : "cpu"},
          {"steps", s.steps},
          {"batch", s.batch},
          {"length", s.length},
          {"warm_up", s.warm_up},
          {"learning_rate", s.optimiser.learning_rate},
          {"betas", {s.optimiser.beta1, s.optimiser.beta2}},
          {"weight_decay", s.optimiser.weight_decay},
          {"clip", s.clip},
          {"prompts", s.prompts},
          {"prompt_tokens", s.prompt_tokens},
          {"new_tokens", s.new_tokens},
          {"seeds", s.seeds},
          {"held_out_batches", s.held_out_batches},
          {"dtype", s.compute == at::kFloat ? "f32" : "bf16"}};
}

Json measured(const std::vector<std::vector<Token>>& texts) {
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
    if (!metric.value || metric.kind == Kind::whole) continue;
    if (const auto interval = interval_of(metric.shares, metric.kind == Kind::rate, 0.95, 1))
      all[id].update({{"low", interval->low}, {"high", interval->high}});
  }
  return all;
}

double mean_of(const std::vector<double>& values, std::size_t first, std::size_t last) {
  double sum = 0;
  for (std::size_t i = first; i < last; ++i) sum += values[i];
  return sum / static_cast<double>(last - first);
}

// So many means of stretches as the curve is to have points.
Json curve_of(const std::vector<double>& values) {
  Json points = Json::array();
  const auto count = std::min(kCurvePoints, values.size());
  for (std::size_t i = 0; i < count; ++i)
    points.push_back(
        std::round(1e4 * mean_of(values, values.size() * i / count, values.size() * (i + 1) / count)) / 1e4);
  return points;
}

// How unsteady a curve is: the standard deviation of the step from one value's logarithm to the next one's.
double unsteadiness(const std::vector<double>& values, std::size_t first) {
  double squares = 0;
  for (std::size_t i = first + 1; i < values.size(); ++i)
    squares += std::pow(std::log(values[i] / values[i - 1]), 2);
  return std::sqrt(squares / static_cast<double>(values.size() - first - 1));
}

class Experiment {
 public:
  Experiment(const RepeaterOptions& options, std::function<void(double, std::size_t, std::size_t)> progress)
      : options_(options),
        progress_(std::move(progress)),
        corpus_(options.tokens.empty()
                    ? source_corpus(options.scale.source)
                    : token_corpus(options.tokens, static_cast<std::size_t>(options.scale.length))),
        runs_(designed_runs(options.scale.seeds)) {
    if (!options.tokens.empty())
      for (auto* specification : {&options_.scale.after, &options_.scale.before})
        specification->vocab_size = corpus_->vocabulary();
    settings_ = plumbline::settings_of(options_, *corpus_);
    for (const auto& run : runs_)
      parameters_.push_back(model_of(options_.scale, run.before).parameter_count());
    for (std::int64_t i = 0; i < options_.scale.prompts; ++i)
      prompts_.push_back(corpus_->text(i, static_cast<std::size_t>(options_.scale.prompt_tokens)));
  }

  Json run() {
    const auto& s = options_.scale;
    const auto folder = options_.out / "runs";
    std::error_code why;
    fs::create_directories(folder, why);
    if (why)
      throw InputError(fmt::format("{}: cannot be made: {}", printable(folder.string()), why.message()));
    require_writable(folder, "--out");
    const DirectoryLock alone(folder, "--out");
    Json document = {{"format", "plumbline-experiment"},
                     {"version", 1},
                     {"experiment", "repeater"},
                     {"settings", settings_},
                     {"text", {{"sentence", corpus_->sentence()}}}};
    if (const auto rate = corpus_->entropy_rate()) document["text"]["entropy_rate"] = *rate;
    document["text"]["vocabulary"] = corpus_->vocabulary();
    results_.assign(runs_.size(), Json());
    steps_.assign(runs_.size(), 0);
    for (std::size_t i = 0; i < runs_.size(); ++i) take_up(i);
    const auto begin = Clock::now();
    work();
    document["seconds"] = std::chrono::duration<double>(Clock::now() - begin).count();
    document["own_text"] = own_text();
    document["runs"] = results_;
    document["models"] = {{"after", describe(s.after)}, {"before", describe(s.before)}};
    return document;
  }

 private:
  static Json describe(const Specification& s) {
    return {{"name", s.name},
            {"layers", s.num_hidden_layers},
            {"width", s.hidden_size},
            {"heads", s.num_attention_heads},
            {"key_value_heads", s.num_key_value_heads},
            {"feed_forward", s.intermediate_size},
            {"activation", to_string(s.hidden_act)},
            {"vocabulary", s.vocab_size},
            {"parameters", s.parameter_count()}};
  }

  fs::path file(std::size_t run, const char* what) const {
    return options_.out / "runs" / (runs_[run].name() + what);
  }
  std::string fingerprint(std::size_t run) const { return sha256(settings_.dump() + runs_[run].name()); }

  // Results that are there already.
  void take_up(std::size_t run) {
    const auto place = file(run, ".json");
    std::error_code ignored;
    if (!fs::exists(place, ignored)) return;
    const auto where = printable(place.string());
    auto result = parse_json(read_text(place, kLargestRun), where);
    if (value_of<std::string>(result, "fingerprint", where) != fingerprint(run))
      throw InputError(
          fmt::format("{}: is of another experiment, with other settings; name another --out", where));
    result.erase("fingerprint");
    require_run(result, runs_[run], where);
    results_[run] = std::move(result);
    steps_[run] = options_.scale.steps;
  }

  // That a file of results is one: it may have been edited.
  static void require_run(const Json& result, const Run& run, const std::string& where) {
    const auto require = [&](bool holds, const std::string& what) {
      if (!holds) throw InputError(fmt::format("{}: {}; remove it, and the run is made again", where, what));
    };
    require(value_of<std::string>(result, "name", where) == run.name(), "names another run");
    const auto levels = value_of<Json>(result, "levels", where);
    for (std::size_t i = 0; i < kFactors; ++i)
      require(value_of<std::string>(levels, factors()[i].id.c_str(), where) ==
                  (run.before[i] ? "before" : "after"),
              "has other levels than its name");
    const auto curve = value_of<std::vector<double>>(result, "curve", where);
    require(!curve.empty(), "has no curve");
    for (const auto* key : {"training_loss", "held_out_loss", "held_out_loss_as_trained", "first_loss"})
      value_of<double>(result, key, where);
    value_of<std::int64_t>(result, "parameters", where);
    for (const auto* key : {"median", "unsteadiness"})
      value_of<double>(value_of<Json>(result, "gradient_norm", where), key, where);
    for (const auto* strategy : {"greedy", "sampled"})
      for (const auto* id : {"looping", "seq-rep-4"})
        value_of<double>(
            value_of<Json>(value_of<Json>(value_of<Json>(result, "writes", where), strategy, where), id,
                           where),
            "value", where);
  }

  void work() {
    std::atomic<std::size_t> next{0};
    std::exception_ptr failure;
    const auto worker = [&] {
      if (options_.device.is_cpu() && options_.workers > 1) at::set_num_threads(1);
      for (std::size_t i = next++; i < runs_.size() && !stopped_; i = next++) {
        if (!results_[i].is_null()) continue;
        try {
          auto result = train_and_measure(i);
          const std::lock_guard lock(mutex_);
          results_[i] = std::move(result);
        } catch (...) {
          const std::lock_guard lock(mutex_);
          if (!failure) failure = std::current_exception();
          stopped_ = true;
        }
      }
    };
    tell();
    std::vector<std::jthread> others;
    for (int i = 1; i < options_.workers; ++i) others.emplace_back(worker);
    worker();
    others.clear();  // all are done
    if (failure) std::rethrow_exception(failure);
    tell();
  }

  // In steps of a parameter: a large model's take longer.
  void tell() {
    const std::lock_guard lock(mutex_);
    std::int64_t done = 0, all = 0;
    for (std::size_t i = 0; i < runs_.size(); ++i) {
      done += steps_[i] * parameters_[i];
      all += options_.scale.steps * parameters_[i];
    }
    const auto finished = static_cast<std::size_t>(
        std::count_if(results_.begin(), results_.end(), [](const Json& one) { return !one.is_null(); }));
    progress_(static_cast<double>(done) / static_cast<double>(all), finished, runs_.size());
  }

  // Every run has an initialisation, dropout and text of its own: what they happen to be is then no part of
  // any effect.
  static std::uint32_t number_of(std::size_t index) { return static_cast<std::uint32_t>(index + 1); }

  Recipe recipe_of(std::size_t index) const {
    const auto& s = options_.scale;
    const auto& run = runs_[index];
    Recipe recipe{.model = {model_of(s, run.before), {}}};
    if (run.before[kMask]) recipe.model = depart(recipe.model.specification, "mask-inverted-in-training");
    recipe.dropout = recipe.model.specification.dropout;
    recipe.steps = s.steps;
    recipe.warm_up = s.warm_up;
    recipe.clip = s.clip;
    recipe.optimiser = s.optimiser;
    recipe.seed = number_of(index);
    recipe.compute = s.compute;
    recipe.device = options_.device;
    return recipe;
  }

  Json train_and_measure(std::size_t index) {
    const auto& s = options_.scale;
    const auto& run = runs_[index];
    const auto begin = Clock::now();
    const auto recipe = recipe_of(index);
    Trainer trainer(recipe);
    const auto state = file(index, ".state.safetensors");
    std::error_code ignored;
    if (fs::exists(state, ignored)) trainer.load(state, fingerprint(index));
    {
      const std::lock_guard lock(mutex_);
      steps_[index] = trainer.course().steps();
    }
    auto saved = Clock::now();
    Clock::duration between = kBetweenStates;
    while (!trainer.done() && !stopped_) {
      const auto batch = corpus_->training(number_of(index), trainer.course().steps(), s.batch, s.length);
      try {
        trainer.step(batch.tokens.to(options_.device));
      } catch (const InputError& error) {
        if (trainer.course().steps() > 0) trainer.save(state, fingerprint(index));
        throw InputError(fmt::format("run {}: {}; its state before that step is kept in {}", run.name(),
                                     error.what(), printable(state.string())));
      }
      {
        const std::lock_guard lock(mutex_);
        steps_[index] = trainer.course().steps();
      }
      if (Clock::now() - saved > between) {
        const auto began = Clock::now();
        trainer.save(state, fingerprint(index));
        saved = Clock::now();
        between = std::max<Clock::duration>(kBetweenStates, kPartOfSaving * (saved - began));
      }
      if (trainer.course().steps() % 20 == 0) tell();
    }
    if (stopped_) {
      if (trainer.course().steps() > 0) trainer.save(state, fingerprint(index));
      return {};
    }
    auto result = measure(trainer, recipe, index);
    result["seconds"] = std::chrono::duration<double>(Clock::now() - begin).count();
    auto kept = result;
    kept["fingerprint"] = fingerprint(index);
    const auto weights = trainer.weights();
    write_safetensors(file(index, ".safetensors"), {weights.begin(), weights.end()});
    write_atomically(file(index, ".json"), kept.dump() + "\n");
    fs::remove(state, ignored);
    return result;
  }

  Json measure(const Trainer& trainer, const Recipe& recipe, std::size_t index) const {
    const auto& s = options_.scale;
    const auto& run = runs_[index];
    const auto& course = trainer.course();
    const auto steps = course.losses.size();
    Json levels = Json::object();
    for (std::size_t i = 0; i < kFactors; ++i) levels[factors()[i].id] = run.before[i] ? "before" : "after";
    Json result = {{"name", run.name()},
                   {"levels", levels},
                   {"seed", run.seed},
                   {"designed", run.designed},
                   {"parameters", recipe.model.specification.parameter_count()},
                   {"curve", curve_of(course.losses)}};
    // Of the last twentieth of training.
    const auto late = steps - std::max<std::size_t>(1, steps / 20);
    result["training_loss"] = mean_of(course.losses, late, steps);
    double floor = 0;
    bool known = true;
    for (std::size_t step = late; step < steps; ++step) {
      const auto batch =
          corpus_->training(number_of(index), static_cast<std::int64_t>(step), s.batch, s.length);
      known = known && batch.floor.has_value();
      floor += batch.floor.value_or(0) / static_cast<double>(steps - late);
    }
    if (known) result["training_floor"] = floor;
    const auto warm = static_cast<std::size_t>(s.warm_up);
    result["first_loss"] = course.losses.front();
    result["gradient_norm"] = {
        {"median", median({course.norms.begin() + static_cast<std::ptrdiff_t>(warm), course.norms.end()})},
        {"unsteadiness", unsteadiness(course.norms, warm)}};
    std::vector<at::Tensor> held_out;
    double held_out_floor = 0;
    for (std::int64_t i = 0; i < s.held_out_batches; ++i) {
      const auto batch = corpus_->held_out(i, s.batch, s.length);
      held_out.push_back(batch.tokens.to(options_.device));
      held_out_floor += batch.floor.value_or(0) / static_cast<double>(s.held_out_batches);
    }
    result["held_out_loss"] = trainer.loss_on(at::stack(held_out), false);
    result["held_out_loss_as_trained"] = trainer.loss_on(at::stack(held_out), true);
    if (known) result["held_out_floor"] = held_out_floor;

    const auto writer = make_engine(run.name(), recipe.model.specification, s.compute, options_.device);
    writer->load(trainer.weights());
    for (const double temperature : {0.0, 1.0}) {
      GenerationOptions options;
      options.sampling.temperature = temperature;
      options.seed = number_of(index);
      options.most_tokens = s.new_tokens;
      options.longest = recipe.model.specification.max_position_embeddings;
      options.vocabulary = recipe.model.specification.vocab_size;
      std::vector<std::vector<Token>> texts;
      for (auto& one : generate(*writer, prompts_, options, [](std::int64_t, std::int64_t) {}))
        texts.push_back(std::move(one.tokens));
      result["writes"][temperature == 0 ? "greedy" : "sampled"] = measured(texts);
    }
    return result;
  }

  // The text itself, after the same prompts: its next tokens, and what is likeliest by its own probabilities.
  Json own_text() const {
    const auto& s = options_.scale;
    std::vector<std::vector<Token>> next, likeliest;
    for (std::int64_t i = 0; i < s.prompts; ++i) {
      const auto begin = static_cast<std::ptrdiff_t>(s.prompt_tokens);
      const auto text = corpus_->text(i, static_cast<std::size_t>(s.prompt_tokens + s.new_tokens));
      next.emplace_back(text.begin() + begin, text.end());
      auto best =
          corpus_->likeliest(prompts_[static_cast<std::size_t>(i)], static_cast<std::size_t>(s.new_tokens));
      if (!best.empty()) likeliest.push_back(std::move(best));
    }
    Json all = {{"sampled", measured(next)}};
    if (!likeliest.empty()) all["greedy"] = measured(likeliest);
    return all;
  }

  RepeaterOptions options_;
  std::function<void(double, std::size_t, std::size_t)> progress_;
  std::unique_ptr<Corpus> corpus_;
  std::vector<Run> runs_;
  std::vector<std::int64_t> parameters_;  // of each run's model
  Json settings_;
  std::vector<std::vector<Token>> prompts_;
  std::mutex mutex_;  // of what follows
  std::vector<Json> results_;
  std::vector<std::int64_t> steps_;
  std::atomic<bool> stopped_{false};
};

}  // namespace

Specification model_of(const Scale& scale, const Levels& before) {
  auto s = scale.after;
  if (before[0]) {
    s.num_hidden_layers = scale.before.num_hidden_layers;
    s.intermediate_size = scale.before.intermediate_size;
    s.intermediate_size_derived = scale.before.intermediate_size_derived;
    s.hidden_act = scale.before.hidden_act;
    s.mlp_bias = scale.before.mlp_bias;
  }
  if (before[1]) s.num_key_value_heads = scale.before.num_key_value_heads;
  if (before[3]) s.initialization = scale.before.initialization;
  s.dropout = before[4] ? scale.before.dropout : 0;
  return s;
}

Scale read_scale(const std::string& name, const fs::path& fixtures) {
  const auto file = fixtures / "repeater" / "scales.json";
  const auto place = file.string();
  const auto all = parse_json(read_text(file, 1 << 20), place);
  if (!all.contains(name)) {
    std::vector<std::string> known;
    for (const auto& [other, values] : all.items()) known.push_back(other);
    throw InputError(fmt::format("--scale {}: there is no such scale; there are {}", printable(name, 40),
                                 fmt::join(known, ", ")));
  }
  const auto where = fmt::format("{}: {}", place, name);
  const auto& given = all[name];
  Scale s;
  s.name = name;
  s.after = read_specification(fixtures / value_of<std::string>(given, "after", where));
  s.before = read_specification(fixtures / value_of<std::string>(given, "before", where));
  const auto source = value_of<Json>(given, "source", where),
             training = value_of<Json>(given, "training", where), text = value_of<Json>(given, "text", where);
  s.source.vocabulary = static_cast<Token>(s.after.vocab_size);
  s.source.successors = value_of<std::uint32_t>(source, "successors", where);
  s.source.loose = value_of<double>(source, "loose", where);
  s.source.zipf = value_of<double>(source, "zipf", where);
  s.source.copying = value_of<double>(source, "copying", where);
  s.source.copy_length = value_of<std::uint32_t>(source, "copy_length", where);
  s.source.copy_distance = value_of<std::uint32_t>(source, "copy_distance", where);
  s.steps = value_of<std::int64_t>(training, "steps", where);
  s.batch = value_of<std::int64_t>(training, "batch", where);
  s.length = value_of<std::int64_t>(training, "length", where);
  s.warm_up = value_of<std::int64_t>(training, "warm_up", where);
  s.optimiser.learning_rate = value_of<double>(training, "learning_rate", where);
  s.optimiser.beta1 = value_of<double>(training, "beta1", where);
  s.optimiser.beta2 = value_of<double>(training, "beta2", where);
  s.optimiser.weight_decay = value_of<double>(training, "weight_decay", where);
  s.clip = value_of<double>(training, "clip", where);
  s.seeds = value_of<std::uint32_t>(given, "seeds", where);
  s.held_out_batches = value_of<std::int64_t>(given, "held_out_batches", where);
  s.prompts = value_of<std::int64_t>(text, "prompts", where);
  s.prompt_tokens = value_of<std::int64_t>(text, "prompt_tokens", where);
  s.new_tokens = value_of<std::int64_t>(text, "tokens", where);
  s.compute = value_of<std::string>(given, "dtype", where) == "bf16" ? at::kBFloat16 : at::kFloat;
  return s;
}

Json run_repeater(const RepeaterOptions& options,
                  const std::function<void(double done, std::size_t runs, std::size_t all)>& progress) {
  return Experiment(options, progress).run();
}

}  // namespace plumbline
