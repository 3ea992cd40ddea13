#include "harness/text/samples.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <functional>
#include <unordered_map>

#include "harness/system/error.hpp"
#include "harness/system/files.hpp"
#include "harness/system/json.hpp"
#include "harness/text/lines.hpp"

namespace plumbline {
namespace {

constexpr std::size_t kMostTokens = std::size_t{1} << 27;

// Several names for the same thing are in use; the first one found counts.
constexpr const char* kIds[] = {"ids", "tokens", "token_ids", "output_ids"};
constexpr const char* kTexts[] = {"text", "completion", "generated_text", "output", "response"};

// Decodes the character at `at` and moves `at` past it. Empty: no UTF-8 (RFC 3629).
std::optional<char32_t> decode(std::string_view text, std::size_t& at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto first = byte(at);
  const std::size_t length = first < 0x80       ? 1
                             : first >> 5 == 6  ? 2
                             : first >> 4 == 14 ? 3
                             : first >> 3 == 30 ? 4
                                                : 0;
  if (length == 0 || at + length > text.size()) return std::nullopt;
  char32_t code = length == 1 ? first : first & (0x7fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if (byte(at + i) >> 6 != 2) return std::nullopt;
    code = code << 6 | (byte(at + i) & 0x3fu);
  }
  constexpr char32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
  if (code < least[length] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return std::nullopt;
  at += length;
  return code;
}

struct Range {
  char32_t first, last;
};
bool within(char32_t code, std::span<const Range> ranges) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [&](const Range& range) { return code >= range.first && code <= range.last; });
}

// Blocks of Unicode 15: scripts without spaces between words.
constexpr Range kUnspaced[] = {{0x0e00, 0x0eff}, {0x1000, 0x109f},   {0x1780, 0x17ff},  {0x2e80, 0x2fff},
                               {0x3005, 0x3007}, {0x3021, 0x3029},   {0x3031, 0x3035},  {0x3040, 0x31ff},
                               {0x3400, 0x4dbf}, {0x4e00, 0x9fff},   {0xa000, 0xa4cf},  {0xf900, 0xfaff},
                               {0xff66, 0xff9d}, {0x1b000, 0x1b16f}, {0x20000, 0x3ffff}};
constexpr Range kSpaces[] = {{0x09, 0x0d},     {0x20, 0x20},     {0x85, 0x85},     {0xa0, 0xa0},
                             {0x1680, 0x1680}, {0x2000, 0x200b}, {0x2028, 0x2029}, {0x202f, 0x202f},
                             {0x205f, 0x205f}, {0x3000, 0x3000}, {0xfeff, 0xfeff}};
constexpr Range kMarks[] = {{0x00, 0x26},     {0x28, 0x2f},     {0x3a, 0x40},      {0x5b, 0x5e},
                            {0x60, 0x60},     {0x7b, 0xa9},     {0xab, 0xb4},      {0xb6, 0xb9},
                            {0xbb, 0xbf},     {0xd7, 0xd7},     {0xf7, 0xf7},      {0x2010, 0x2018},
                            {0x201a, 0x2027}, {0x2030, 0x205e}, {0x2070, 0x2bff},  {0x2e00, 0x2e7f},
                            {0x3001, 0x3004}, {0x3008, 0x3020}, {0x302a, 0x3030},  {0x3036, 0x303f},
                            {0xfe10, 0xfe1f}, {0xfe30, 0xfe6f}, {0xff00, 0xff0f},  {0xff1a, 0xff20},
                            {0xff3b, 0xff40}, {0xff5b, 0xff65}, {0x1f000, 0x1faff}};

const Json* find_any(const Json& object, std::span<const char* const> names) {
  for (const auto* name : names)
    if (const auto found = object.find(name); found != nullptr && !found->is_null()) return found;
  return nullptr;
}

// Whether the file holds JSON lines: by its extension, or because its first line is an object.
bool is_json_lines(const std::string& file) {
  const auto extension = lowered(std::filesystem::path(file).extension().string());
  if (extension == ".jsonl" || extension == ".json" || extension == ".ndjson") return true;
  std::string line;
  Lines lines(file);
  try {
    return lines.next(line) && line.starts_with('{') && parse_json(line, "").is_object();
  } catch (const InputError&) {
    return false;
  }
}

// Whether this reason means that the model ended the text itself. Empty: an unknown reason.
std::optional<bool> ended_by(const std::string& reason) {
  for (const auto* word : {"stop", "eos", "eos_token", "end_turn", "stop_sequence", "end", "complete"})
    if (reason == word) return true;
  for (const auto* word : {"length", "max_tokens", "max_length", "max_new_tokens", "model_length"})
    if (reason == word) return false;
  return std::nullopt;
}

class Reader {
 public:
  Reader(const std::filesystem::path& file, const ReadingOptions& options) : lines_(file), options_(options) {
    samples_.file = file.string();
  }

  Samples read() {
    if (is_json_lines(samples_.file))
      read_objects();
    else
      read_plain_text();
    if (samples_.all.empty()) throw InputError(fmt::format("{}: holds no sample", printable(samples_.file)));
    samples_.sha256 = lines_.sha256();
    samples_.unit = unit_ == "ids" ? "token ids" : unit_;
    return std::move(samples_);
  }

 private:
  std::string location() const {
    return fmt::format("{}: line {}", printable(samples_.file), lines_.number());
  }

  void add(Sample sample) {
    sample.line = lines_.number();
    total_ += sample.tokens.size();
    if (total_ > kMostTokens)
      throw InputError(fmt::format("{}: more than {} tokens; measure a part of it", location(), kMostTokens));
    samples_.all.push_back(std::move(sample));
  }

  // All samples of a file have the same unit: token ids cannot be compared with words.
  void require_unit(const std::string& unit) {
    if (unit_.empty()) unit_ = unit;
    if (unit_ != unit)
      throw InputError(
          fmt::format("{}: this sample is given as {}, the samples before it as {}; choose one with --unit",
                      location(), unit, unit_));
  }

  std::vector<Token> number_units(std::string_view text) {
    std::vector<Token> tokens;
    for (const auto unit : units_of(text, unit_ == "characters"))
      tokens.push_back(
          numbers_.try_emplace(std::string(unit), static_cast<Token>(numbers_.size())).first->second);
    return tokens;
  }

  std::vector<Token> ids(const Json& values, const char* what) const {
    return token_ids(values, location(), what, options_.vocabulary);
  }

  void read_objects() {
    std::string line;
    while (lines_.next(line)) {
      if (line.find_first_not_of(" \t") == std::string::npos) continue;
      const auto object = parse_json(line, location());
      if (!object.is_object())
        throw InputError(fmt::format("{}: expected a JSON object a line, with 'ids' or 'text'", location()));
      read_object(object);
    }
  }

  void read_object(const Json& object) {
    Sample sample;
    const auto* id_values = find_any(object, kIds);
    // Some files have the number of tokens under one of these names.
    if (id_values != nullptr && id_values->is_number() && find_any(object, kTexts) != nullptr)
      id_values = nullptr;
    const auto* text = find_any(object, kTexts);
    if (text != nullptr && !text->is_string())
      throw InputError(fmt::format("{}: its text is no string", location()));
    if (text != nullptr) sample.text = text->get<std::string>();
    const bool by_ids = options_.unit == "ids" || (options_.unit.empty() && id_values != nullptr);
    if ((by_ids ? id_values : text) == nullptr)
      throw InputError(fmt::format(
          "{}: has no {}; expected one of {}", location(), by_ids ? "token ids" : "text",
          by_ids ? fmt::format("{}", fmt::join(kIds, ", ")) : fmt::format("{}", fmt::join(kTexts, ", "))));
    require_unit(by_ids ? "ids" : options_.unit == "characters" ? "characters" : "words");
    sample.tokens = by_ids ? ids(*id_values, "ids") : number_units(sample.text);
    if (const auto prompt = object.find("prompt"); prompt != nullptr && !prompt->is_null())
      sample.prompt = prompt->dump({.ascii = true});
    if (const auto prompt = object.find("prompt_ids"); sample.prompt.empty() && prompt != nullptr)
      sample.prompt = prompt->dump();
    if (const auto ended = object.find("ended"); ended != nullptr && ended->is_boolean())
      sample.ended = ended->get<bool>();
    if (const auto reason = object.find("finish_reason"); reason != nullptr && reason->is_string())
      sample.ended = ended_by(lowered(reason->get<std::string>()));
    if (const auto predicted = object.find("predicted"); by_ids && predicted != nullptr) {
      sample.predicted = ids(*predicted, "predicted");
      if (sample.predicted.size() != sample.tokens.size())
        throw InputError(fmt::format("{}: 'predicted' has {} tokens, 'ids' {}; expected one for each",
                                     location(), sample.predicted.size(), sample.tokens.size()));
    }
    std::string strategy;
    if (const auto strategy_value = object.find("strategy");
        strategy_value != nullptr && strategy_value->is_string()) {
      strategy = strategy_value->get<std::string>();
      if (strategy != "greedy" && strategy != "sampled")
        throw InputError(fmt::format("{}: strategy '{}', expected greedy or sampled", location(),
                                     printable(strategy, 40)));
    }
    const auto settings = object.find("sampling");
    const auto settings_text = settings == nullptr ? "" : settings->dump({.ascii = true});
    if (samples_.all.empty()) {
      samples_.strategy = strategy;
      samples_.settings = settings_text;
    }
    // A strategy counts only if every sample states it.
    if (samples_.strategy != strategy)
      samples_.strategy = strategy.empty() || samples_.strategy.empty() ? "" : "mixed";
    if (samples_.settings != settings_text) samples_.settings = "several";
    add(std::move(sample));
  }

  void read_plain_text() {
    if (options_.unit == "ids")
      throw InputError(
          fmt::format("{}: is plain text and has no token ids; expected .jsonl", printable(samples_.file)));
    require_unit(options_.unit == "characters" ? "characters" : "words");
    std::string line, paragraph;
    const auto finish = [&] {
      if (paragraph.empty()) return;
      Sample sample;
      sample.tokens = number_units(paragraph);
      sample.text = std::move(paragraph);
      paragraph.clear();
      add(std::move(sample));
    };
    while (lines_.next(line)) {
      require_utf8(line, location());
      if (line.find_first_not_of(" \t") == std::string::npos)
        finish();
      else
        paragraph += line + "\n";
    }
    finish();
    samples_.notes.emplace_back("samples of plain text are what empty lines separate");
  }

  Lines lines_;
  ReadingOptions options_;
  Samples samples_;
  std::string unit_;
  std::unordered_map<std::string, Token> numbers_;
  std::size_t total_ = 0;
};

}  // namespace

void require_utf8(std::string_view text, const std::string& where) {
  for (std::size_t at = 0; at < text.size();)
    if (!decode(text, at)) throw InputError(fmt::format("{}: byte {} is no UTF-8", where, at + 1));
}

std::vector<Token> token_ids(const Json& values, const std::string& where, const std::string& what,
                             std::optional<Token> vocabulary) {
  if (!values.is_array()) throw InputError(fmt::format("{}: '{}' is no array of token ids", where, what));
  std::vector<Token> tokens;
  tokens.reserve(values.size());
  for (const auto& value : values) {
    const bool whole = value.is_unsigned() && value.get<std::uint64_t>() < 0xffffffff;
    if (!whole || (vocabulary && value.get<std::uint64_t>() >= *vocabulary))
      throw InputError(fmt::format("{}: {}[{}] is {}, expected a token id{}", where, what, tokens.size(),
                                   printable(value.dump({.ascii = true}), 40),
                                   vocabulary ? fmt::format(" below {}", *vocabulary) : ""));
    tokens.push_back(value.get<Token>());
  }
  return tokens;
}

std::size_t Samples::tokens() const {
  std::size_t total = 0;
  for (const auto& sample : all) total += sample.tokens.size();
  return total;
}

Samples read_samples(const std::filesystem::path& file, const ReadingOptions& options) {
  return Reader(file, options).read();
}

std::vector<std::string_view> units_of(std::string_view text, bool characters) {
  std::vector<std::string_view> units;
  std::size_t word = std::string_view::npos;  // where the word at hand began
  const auto finish = [&](std::size_t end) {
    if (word != std::string_view::npos) units.push_back(text.substr(word, end - word));
    word = std::string_view::npos;
  };
  for (std::size_t at = 0; at < text.size();) {
    const auto begin = at;
    const auto code = decode(text, at);
    if (!code) ++at;  // not UTF-8, which read_samples refuses: for other callers, a unit
    if (code && within(*code, kSpaces)) {
      finish(begin);
    } else if (characters || !code || within(*code, kUnspaced) || within(*code, kMarks)) {
      finish(begin);
      units.push_back(text.substr(begin, at - begin));
    } else if (word == std::string_view::npos) {
      word = begin;
    }
  }
  finish(text.size());
  return units;
}

std::vector<std::string_view> sentences_of(std::string_view text) {
  std::vector<std::string_view> sentences;
  std::size_t from = 0;
  const auto finish = [&](std::size_t end) {
    auto sentence = text.substr(from, end - from);
    from = end;
    const auto space = [](std::string_view text_at, std::size_t at) {
      const auto code = decode(text_at, at);
      return code && within(*code, kSpaces) ? at : std::size_t{0};  // where the next character begins
    };
    for (auto next = sentence.empty() ? 0 : space(sentence, 0); next > 0;
         next = sentence.empty() ? 0 : space(sentence, 0))
      sentence.remove_prefix(next);
    auto last = [&] {
      auto at = sentence.size();
      while (at > 0 && (static_cast<unsigned char>(sentence[at - 1]) & 0xc0u) == 0x80u) --at;
      return at == 0 ? at : at - 1;
    };
    while (!sentence.empty() && space(sentence, last()) == sentence.size())
      sentence.remove_suffix(sentence.size() - last());
    // Punctuation alone is no sentence: it ends the one before.
    const auto units = units_of(sentence, false);
    const bool has_words = std::any_of(units.begin(), units.end(), [](std::string_view unit) {
      std::size_t at = 0;
      const auto code = decode(unit, at);
      return code && !within(*code, kMarks);
    });
    if (has_words) sentences.push_back(sentence);
  };
  const auto ends = [](char32_t code) {
    return code == '.' || code == '!' || code == '?' || code == '\n' || code == U'\u3002' ||
           code == U'\uff01' || code == U'\uff1f' || code == U'\u2026';
  };
  for (std::size_t at = 0; at < text.size();) {
    const auto code = decode(text, at);
    if (!code) ++at;
    if (code && ends(*code)) finish(at);
  }
  finish(text.size());
  return sentences;
}

}  // namespace plumbline
