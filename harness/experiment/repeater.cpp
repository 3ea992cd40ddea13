#include "harness/experiment/repeater.hpp"

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <mutex>
#include <thread>

#include "harness/evidence/safetensors.hpp"
#include "harness/experiment/repeater_measures.hpp"
#include "harness/experiment/repeater_results.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.hpp"

namespace plumbline {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr auto kBetweenStates = std::chrono::seconds(15);
// Saving takes at most one part in so many of the time, so large states are saved less often.
constexpr int kPartOfSaving = 20;

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
    settings_ = settings_of(options_, *corpus_);
    for (const auto& run : runs_)
      parameters_.push_back(model_of(options_.scale, run.before).parameter_count());
    for (std::int64_t i = 0; i < options_.scale.prompts; ++i)
      prompts_.push_back(corpus_->held_out_text(i, static_cast<std::size_t>(options_.scale.prompt_tokens)));
  }

  Json run() {
    const auto& s = options_.scale;
    const auto folder = options_.out / "runs";
    std::error_code why;
    fs::create_directories(folder, why);
    if (why)
      throw InputError(fmt::format("{}: cannot be made: {}", printable(folder.string()), why.message()));
    require_writable(folder, "--out");
    const DirectoryLock lock(folder, "--out");
    Json document = {{"format", "plumbline-experiment"},
                     {"version", 1},
                     {"experiment", "repeater"},
                     {"settings", settings_},
                     {"text", {{"sentence", corpus_->sentence()}}}};
    if (const auto rate = corpus_->entropy_rate()) document["text"]["entropy_rate"] = *rate;
    document["text"]["vocabulary"] = corpus_->vocabulary();
    results_.assign(runs_.size(), Json());
    steps_.assign(runs_.size(), 0);
    for (std::size_t i = 0; i < runs_.size(); ++i) read_finished_run(i);
    const auto begin = Clock::now();
    train_remaining_runs();
    document["seconds"] = std::chrono::duration<double>(Clock::now() - begin).count();
    document["own_text"] = measure_own_text(task());
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

  fs::path file_of(std::size_t run, const char* extension) const {
    return options_.out / "runs" / (runs_[run].name() + extension);
  }
  RepeaterTask task() const { return {options_, *corpus_, prompts_}; }
  std::string fingerprint(std::size_t run) const { return sha256(settings_.dump() + runs_[run].name()); }

  // Reads the results of a run that was finished before.
  void read_finished_run(std::size_t index) {
    auto results = read_results(file_of(index, ".json"), runs_[index], fingerprint(index));
    if (!results) return;
    results_[index] = std::move(*results);
    steps_[index] = options_.scale.steps;
  }

  void train_remaining_runs() {
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
    report_progress();
    std::vector<std::jthread> others;
    for (int i = 1; i < options_.workers; ++i) others.emplace_back(worker);
    worker();
    others.clear();  // all are done
    if (failure) std::rethrow_exception(failure);
    report_progress();
  }

  // Each step counts as many times as the model has parameters, since steps of large models take longer.
  void report_progress() {
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

  // Every run has its own initialisation, dropout and text, so that none of them is confounded with an
  // effect.
  static std::uint32_t seed_of_run(std::size_t index) { return static_cast<std::uint32_t>(index + 1); }

  Recipe recipe_of(std::size_t index) const {
    const auto& s = options_.scale;
    const auto& run = runs_[index];
    Recipe recipe{.model = {model_of(s, run.before), {}}};
    if (run.before[kMask])
      recipe.model = apply_departures(recipe.model.specification, "mask-inverted-in-training");
    recipe.dropout = recipe.model.specification.dropout;
    recipe.steps = s.steps;
    recipe.warm_up = s.warm_up;
    recipe.clip = s.clip;
    recipe.optimiser = s.optimiser;
    recipe.seed = seed_of_run(index);
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
    const auto state = file_of(index, ".state.safetensors");
    std::error_code ignored;
    if (fs::exists(state, ignored)) trainer.load(state, fingerprint(index));
    {
      const std::lock_guard lock(mutex_);
      steps_[index] = trainer.history().steps();
    }
    auto saved = Clock::now();
    Clock::duration between = kBetweenStates;
    while (!trainer.done() && !stopped_) {
      const auto batch =
          corpus_->training_batch(seed_of_run(index), trainer.history().steps(), s.batch, s.length);
      try {
        trainer.step(batch.tokens.to(options_.device));
      } catch (const InputError& error) {
        if (trainer.history().steps() > 0) trainer.save(state, fingerprint(index));
        throw InputError(fmt::format("run {}: {}; its state before that step is kept in {}", run.name(),
                                     error.what(), printable(state.string())));
      }
      {
        const std::lock_guard lock(mutex_);
        steps_[index] = trainer.history().steps();
      }
      if (Clock::now() - saved > between) {
        const auto began = Clock::now();
        trainer.save(state, fingerprint(index));
        saved = Clock::now();
        between = std::max<Clock::duration>(kBetweenStates, kPartOfSaving * (saved - began));
      }
      if (trainer.history().steps() % 20 == 0) report_progress();
    }
    if (stopped_) {
      if (trainer.history().steps() > 0) trainer.save(state, fingerprint(index));
      return {};
    }
    auto result = measure_run(task(), {run, recipe, trainer});
    result["seconds"] = std::chrono::duration<double>(Clock::now() - begin).count();
    const auto weights = trainer.weights();
    write_safetensors(file_of(index, ".safetensors"), {weights.begin(), weights.end()});
    write_results(file_of(index, ".json"), result, fingerprint(index));
    fs::remove(state, ignored);
    return result;
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

Json run_repeater(const RepeaterOptions& options,
                  const std::function<void(double done, std::size_t runs, std::size_t all)>& progress) {
  return Experiment(options, progress).run();
}

}  // namespace plumbline
