#include "harness/cli/sample.hpp"

#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "harness/candidate/protocol.hpp"
#include "harness/cli/progress.hpp"
#include "harness/evidence/safetensors.hpp"
#include "harness/system/child.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.hpp"
#include "harness/system/output.hpp"
#include "harness/text/lines.hpp"
#include "harness/text/samples.hpp"

namespace plumbline {
namespace {

namespace fs = std::filesystem;
constexpr std::uint64_t kMostPromptBytes = 256ull << 20;

// A prompt: its text as in the file, and its ids.
struct Prompt {
  Json text;  // a string, or null where the prompt is ids alone
  std::vector<Token> ids;
};

// texts -> lists of ids, or lists of ids -> texts.
class Tokenizer {
 public:
  explicit Tokenizer(const SamplingRun& run) : run_(run) {}

  Json encode(const Json& texts) const { return run_script("encode", texts); }
  Json decode(const Json& ids) const { return run_script("decode", ids); }

 private:
  Json run_script(const std::string& action, const Json& values) const {
    const auto file = printable(run_.tokenizer);
    sha256_of_file(run_.tokenizer);  // throws where the file cannot be read
    const TemporaryDirectory directory;
    const auto in = directory.path() / "in.json", out = directory.path() / "out.json";
    write_atomically(in, values.dump({.ascii = true}));
    ChildLimits limits;
    limits.address_space_bytes = 16ull << 30;
    // The launcher may bring a package of tokenizers; the user's own packages come first.
    const char *users_path = std::getenv("PYTHONPATH"), *launchers_path = std::getenv("PLUMBLINE_TOKENIZERS");
    const std::string path = fmt::format("{}{}{}", users_path == nullptr ? "" : users_path,
                                         users_path != nullptr && launchers_path != nullptr ? ":" : "",
                                         launchers_path == nullptr ? "" : launchers_path);
    Environment environment{{"TOKENIZERS_PARALLELISM", "false"}};
    if (!path.empty()) environment.emplace_back("PYTHONPATH", path);
    const auto child = run_child({run_.python, (run_.scripts / "tokenize_text.py").string(), action,
                                  fs::absolute(run_.tokenizer).string(), in.string(), out.string()},
                                 limits, environment);
    Json report;
    try {
      report = parse_json(child.output, file);
    } catch (const InputError&) {
      // Killed before it could report; the message below says how it ended.
    }
    if (report.is_object() && report.contains("error"))
      throw InputError(fmt::format("{}: {}", file, printable(report["error"].get<std::string>(), 500)));
    if (!child.succeeded())
      throw InputError(fmt::format(
          "{}: the process that reads it {}", file,
          child.timed_out ? "took too long; use fewer prompts"
          : child.signal != 0
              ? fmt::format("was stopped by signal {}; use fewer prompts", child.signal)
              : fmt::format("ended with status {}: {}", child.exit_code, printable(child.errors, 300))));
    auto answer = parse_json(read_text(out, kMostPromptBytes), file);
    if (!answer.is_array() || answer.size() != values.size())
      throw InputError(
          fmt::format("{}: the tokenizer gave {} results for {} texts; use another tokenizer.json", file,
                      answer.size(), values.size()));
    return answer;
  }

  const SamplingRun& run_;
};

Prompt prompt_of(const Json& object, const std::string& where) {
  if (!object.is_object())
    throw InputError(fmt::format("{}: expected a JSON object with 'ids' or 'prompt'", where));
  Prompt prompt;
  if (object.contains("prompt") && object["prompt"].is_string()) prompt.text = object["prompt"];
  for (const auto* name : {"prompt_ids", "ids", "prompt"})
    if (object.contains(name) && object[name].is_array()) {
      prompt.ids = token_ids(object[name], where, name);
      return prompt;
    }
  if (prompt.text.is_null() && object.contains("text") && object["text"].is_string())
    prompt.text = object["text"];
  if (prompt.text.is_null())
    throw InputError(fmt::format("{}: has neither 'ids' nor 'prompt'; give one of them", where));
  return prompt;
}

std::vector<Prompt> read_prompts(const SamplingRun& run) {
  Lines lines(run.prompts);
  const bool objects = run.prompts.ends_with(".jsonl") || run.prompts.ends_with(".json");
  std::vector<Prompt> prompts;
  Json texts = Json::array();
  std::string line, first_text_location;
  while (lines.next(line)) {
    if (line.find_first_not_of(" \t") == std::string::npos) continue;
    const auto where = fmt::format("{}: line {}", printable(run.prompts), lines.number());
    if (!objects) require_utf8(line, where);
    if (objects)
      prompts.push_back(prompt_of(parse_json(line, where), where));
    else
      prompts.push_back({line, {}});
    if (prompts.back().ids.empty() && prompts.back().text.is_null())
      throw InputError(fmt::format("{}: has no tokens; give at least one id or some text", where));
    if (prompts.back().ids.empty()) {
      if (first_text_location.empty()) first_text_location = where;
      texts.push_back(prompts.back().text);
    }
  }
  if (prompts.empty())
    throw InputError(fmt::format("{}: holds no prompt; write one prompt a line", printable(run.prompts)));
  if (texts.empty()) return prompts;
  if (run.tokenizer.empty())
    throw InputError(
        fmt::format("{}: is text, which needs a tokenizer; name it with --tokenizer FILE, or give 'ids'",
                    first_text_location));
  const auto encoded = Tokenizer(run).encode(texts);
  std::size_t next = 0;
  for (auto& prompt : prompts)
    if (prompt.ids.empty()) prompt.ids = token_ids(encoded[next++], printable(run.tokenizer), "ids");
  return prompts;
}

// Errors: InputError where the caches of a batch, in float32, do not fit into memory.
void require_room(const std::vector<Prompt>& prompts, const GenerationOptions& options,
                  const Specification& s) {
  std::size_t longest = 0;
  for (const auto& prompt : prompts) longest = std::max(longest, prompt.ids.size());
  const auto rows =
      std::min<std::int64_t>(options.batch, static_cast<std::int64_t>(prompts.size()) * options.samples);
  const auto bytes = 8.0 * static_cast<double>(rows) *
                     static_cast<double>(s.num_hidden_layers * s.key_value_size()) *
                     (static_cast<double>(longest) + static_cast<double>(options.most_tokens));
  if (bytes > static_cast<double>(most_tensor_bytes()))
    throw InputError(
        fmt::format("a batch of {} sequences of up to {} tokens needs {:.1f} GB of cache, but only {:.1f} GB "
                    "are available; use a smaller --batch or fewer --tokens",
                    rows, static_cast<std::int64_t>(longest) + options.most_tokens, bytes / 1e9,
                    static_cast<double>(most_tensor_bytes()) / 1e9));
}

std::int64_t declared(const Candidate& candidate, const char* key, std::int64_t fallback) {
  const auto& configuration = candidate.describe().configuration;
  const auto found = configuration.find(key);
  return found != configuration.end() && found->second.value.is_int64()
             ? found->second.value.get<std::int64_t>()
             : fallback;
}

std::vector<GeneratedSample> generate_samples(Candidate& candidate, const std::vector<Prompt>& prompts,
                                              const GenerationOptions& options) {
  std::vector<std::vector<Token>> ids;
  for (const auto& prompt : prompts) ids.push_back(prompt.ids);
  try {
    Progress progress;
    return generate(candidate, ids, options, [&](std::int64_t done, std::int64_t most) {
      progress.tell(static_cast<double>(done) / static_cast<double>(std::max<std::int64_t>(most, 1)),
                    fmt::format(" of at most {} tokens, {:.0f} a second", most,
                                static_cast<double>(done) / std::max(progress.seconds(), 1e-9)));
    });
  } catch (const CandidateFailed& failed) {
    throw InputError(failed.what());
  } catch (const NotShown& why) {
    throw InputError(fmt::format("{}: cannot be sampled: {}", candidate.describe().name, why.what()));
  } catch (const CacheOverrun& why) {
    throw InputError(fmt::format("{}: its cache is too small: {}", candidate.describe().name, why.what()));
  }
}

// The text of each sample; null where there is no tokenizer.
Json decoded_texts(const SamplingRun& run, const std::vector<GeneratedSample>& generated) {
  if (run.tokenizer.empty()) return {};
  Json ids = Json::array();
  for (const auto& one : generated) ids.push_back(one.tokens);
  return Tokenizer(run).decode(ids);
}

void write_samples(const SamplingRun& run, const std::vector<Prompt>& prompts,
                   const std::vector<GeneratedSample>& generated, const std::string& candidate) {
  const auto texts = decoded_texts(run, generated);
  const auto& sampling = run.options.sampling;
  const Json settings = {{"temperature", sampling.temperature},
                         {"top_k", sampling.top_k},
                         {"top_p", sampling.top_p},
                         {"repetition_penalty", sampling.repetition_penalty},
                         {"seed", run.options.seed},
                         {"most_tokens", run.options.most_tokens}};
  AtomicFile file(run.output);
  for (std::size_t i = 0; i < generated.size(); ++i) {
    const auto& prompt = prompts[i / static_cast<std::size_t>(run.options.samples)];
    Json line = {{"prompt_ids", prompt.ids},
                 {"ids", generated[i].tokens},
                 {"strategy", sampling.strategy()},
                 {"sampling", settings},
                 {"margin", generated[i].least_margin},
                 {"candidate", printable(candidate)}};
    if (!prompt.text.is_null()) line["prompt"] = prompt.text;
    if (run.options.end) line["ended"] = generated[i].ended;
    if (!texts.is_null()) line["text"] = texts[i];
    file.write(line.dump({.replace = true}) + "\n");
  }
  file.commit();
}

}  // namespace

int sample(SamplingRun run, std::unique_ptr<Candidate> candidate, const Specification& specification) {
  require_possible(run.options.sampling);
  run.options.most_positions =
      declared(*candidate, "max_position_embeddings", specification.max_position_embeddings);
  run.options.vocabulary = declared(*candidate, "vocab_size", specification.vocab_size);
  if (run.options.end && *run.options.end >= static_cast<std::uint64_t>(run.options.vocabulary))
    throw InputError(
        fmt::format("--end {}: expected an id below {}", *run.options.end, run.options.vocabulary));
  const auto prompts = read_prompts(run);
  if (!run.tokenizer.empty())
    Tokenizer(run).encode(Json::array());  // fails now, not at the end of a long run
  require_room(prompts, run.options, specification);
  const auto begin = std::chrono::steady_clock::now();
  const auto generated = generate_samples(*candidate, prompts, run.options);
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  write_samples(run, prompts, generated, candidate->describe().name);
  std::size_t tokens = 0, ended = 0;
  for (const auto& one : generated) {
    tokens += one.tokens.size();
    ended += one.ended ? 1 : 0;
  }
  print_out("{} samples of {} prompts, {} tokens in {:.1f} s, {:.0f} a second{}\n   {}\n", generated.size(),
            prompts.size(), tokens, seconds, static_cast<double>(tokens) / std::max(seconds, 1e-9),
            run.options.end ? fmt::format("; {} ended with the end token", ended) : "",
            printable(run.output));
  return 0;
}

}  // namespace plumbline
