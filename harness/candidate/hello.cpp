#include "harness/candidate/hello.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <optional>
#include <ranges>

#include "harness/candidate/reference.hpp"
#include "harness/evidence/replay.hpp"
#include "harness/evidence/safetensors.hpp"
#include "harness/system/error.hpp"
#include "harness/system/files.hpp"

namespace plumbline {
namespace {

constexpr std::size_t kMostAxes = 8;
constexpr std::size_t kMostNotes = 20, kLongestNote = 400;

std::optional<at::ScalarType> type_named(const std::string& name) {
  for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf, at::kDouble})
    if (type_name(type) == name) return type;
  return std::nullopt;
}

// Reads the fields of the reply. Errors: InputError naming the field.
class HelloReader {
 public:
  // `known`: the known settings, with an example value of each.
  HelloReader(const Json& fields, std::map<std::string, Setting> known, const std::string& name)
      : fields_(fields), known_(std::move(known)), name_(name) {}

  [[noreturn]] void refuse(const std::string& complaint) const {
    throw InputError(fmt::format("{}: its hello: {}; see harness/candidate/protocol.md", name_, complaint));
  }

  std::string text(const char* key) const {
    if (!fields_.contains(key) || !fields_[key].is_string()) refuse(fmt::format("'{}' is not a text", key));
    return printable(fields_[key].get<std::string>());
  }

  std::map<std::string, Setting> configuration() const {
    std::map<std::string, Setting> settings;
    if (!fields_.contains("configuration")) return settings;
    if (!fields_["configuration"].is_object()) refuse("'configuration' is not an object");
    for (const auto& [key, setting] : fields_["configuration"].items()) {
      if (!setting.is_object() || !setting.contains("value") || !setting.contains("where") ||
          !setting["where"].is_string())
        refuse(fmt::format("configuration.{}: expected an object with 'value' and 'where'", printable(key)));
      const auto& value = setting["value"];
      if (value.is_array() || value.is_object() || value.is_null())
        refuse(fmt::format("configuration.{}: expected a number, a text, true or false", printable(key)));
      const auto known = known_.find(key);
      if (known == known_.end())
        refuse(fmt::format("configuration.{}: no such setting; known are {}", printable(key),
                           fmt::join(std::views::keys(known_), ", ")));
      const auto& example = known->second.value;
      if (!has_kind_of(value, example))
        refuse(fmt::format("configuration.{} is {}, expected something like {}", key,
                           printable(value.dump({.ascii = true}), 80), example.dump()));
      settings[key] = {value, printable(setting["where"].get<std::string>())};
    }
    return settings;
  }

  std::vector<ParameterDescription> parameters() const {
    if (!fields_.contains("parameters") || !fields_["parameters"].is_array())
      refuse("'parameters' is not a list");
    std::vector<ParameterDescription> all;
    std::set<std::string> names;
    std::uint64_t bytes = 0;
    for (const auto& item : fields_["parameters"]) {
      if (!item.is_object() || !item.contains("name") || !item["name"].is_string() ||
          !item.contains("shape") || !item["shape"].is_array() || !item.contains("dtype") ||
          !item["dtype"].is_string())
        refuse("a parameter lacks name, shape or dtype");
      ParameterDescription parameter{item["name"].get<std::string>(), {}, at::kFloat};
      const auto shown = printable(parameter.name, 80);
      if (shown != parameter.name || parameter.name.empty())
        refuse(fmt::format("parameter name '{}': expected 1 to 80 bytes of printable text", shown));
      if (!names.insert(parameter.name).second) refuse(fmt::format("parameter '{}' is listed twice", shown));
      std::int64_t elements = 1;
      if (item["shape"].size() > kMostAxes)
        refuse(fmt::format("parameter '{}' has {} axes; expected {} at most", shown, item["shape"].size(),
                           kMostAxes));
      for (const auto& size : item["shape"]) {
        if (!size.is_integer_from(1, (std::int64_t{1} << 31) / elements))
          refuse(fmt::format("parameter '{}' has shape {}", shown, printable(item["shape"].dump(), 80)));
        parameter.shape.push_back(size.get<std::int64_t>());
        elements *= parameter.shape.back();
      }
      const auto type = type_named(item["dtype"].get<std::string>());
      if (!type)
        refuse(
            fmt::format("parameter '{}' has type '{}'", shown, printable(item["dtype"].get<std::string>())));
      parameter.type = *type;
      bytes += static_cast<std::uint64_t>(elements) * at::elementSize(parameter.type);
      if (bytes > most_tensor_bytes())
        refuse(
            fmt::format("it has more than {} MiB of parameters, which do not fit into this machine's memory",
                        most_tensor_bytes() >> 20));
      all.push_back(std::move(parameter));
    }
    if (all.empty()) refuse("it has no parameters");
    return all;
  }

  std::vector<std::vector<std::string>> tied() const {
    std::vector<std::vector<std::string>> groups;
    if (!fields_.contains("tied") || fields_["tied"].is_null()) return groups;
    if (!fields_["tied"].is_array()) refuse("'tied' is not a list");
    for (const auto& group : fields_["tied"]) {
      groups.emplace_back();
      if (!group.is_array() || group.size() < 2) refuse("'tied' is not a list of lists of names");
      for (const auto& name : group) {
        if (!name.is_string()) refuse("'tied' is not a list of lists of names");
        groups.back().push_back(name.get<std::string>());
      }
    }
    return groups;
  }

  // For the reader of the results only; nothing depends on it.
  std::vector<std::string> stages() const {
    std::vector<std::string> all;
    const auto& can = fields_.at("can");
    if (!can.contains("stages")) return all;
    if (!can["stages"].is_array()) refuse("can: 'stages' is not a list");
    for (const auto& stage : can["stages"]) {
      if (!stage.is_string())
        refuse(fmt::format("can: 'stages' lists {}", printable(stage.dump({.ascii = true}), 60)));
      all.push_back(printable(stage.get<std::string>(), 60));
    }
    return all;
  }

  // Sentences for the reader of the verdict.
  std::vector<std::string> notes() const {
    std::vector<std::string> all;
    if (!fields_.contains("notes") || fields_["notes"].is_null()) return all;
    if (!fields_["notes"].is_array() || fields_["notes"].size() > kMostNotes)
      refuse(fmt::format("'notes' is not a list of at most {} sentences", kMostNotes));
    for (const auto& note : fields_["notes"]) {
      if (!note.is_string()) refuse("'notes' is not a list of sentences");
      all.push_back(printable(note.get<std::string>(), kLongestNote));
    }
    return all;
  }

  // By the stage that it makes. For the reader of the verdict.
  std::map<std::string, SourceLine> lines() const {
    std::map<std::string, SourceLine> all;
    if (!fields_.contains("lines") || fields_["lines"].is_null()) return all;
    if (!fields_["lines"].is_object()) refuse("'lines' is not an object");
    for (const auto& [stage, line] : fields_["lines"].items()) {
      const auto has = [&](const char* key) { return line.contains(key) && line[key].is_string(); };
      if (!line.is_object() || !has("where") || !has("code"))
        refuse(
            fmt::format("lines.{}: expected an object with the texts 'where' and 'code'", printable(stage)));
      all[stage] = {printable(line["where"].get<std::string>()), printable(line["code"].get<std::string>())};
    }
    return all;
  }

  Json mapping() const { return fields_.contains("mapping") ? fields_["mapping"] : Json(); }

  // In the words of requirements.json.
  std::set<std::string> capabilities() const {
    if (!fields_.contains("can") || !fields_["can"].is_object()) refuse("'can' is not an object");
    const auto& can = fields_["can"];
    std::set<std::string> all{"code"};
    for (const auto* flag : {"load", "initialise", "dropout", "first_position", "gradients", "train"})
      if (boolean(can, flag)) all.insert(flag);
    for (const auto& mode : known_words(can, "modes", {"evaluation", "training"})) all.insert(mode);
    for (const auto& side : known_words(can, "padding", {"right", "left"})) all.insert("padding." + side);
    for (const auto& operation : known_words(can, "operations", {"repeat_kv", "rotate"}))
      all.insert(operation);
    if (!all.contains("evaluation")) refuse("can.modes lacks \"evaluation\"");
    for (const auto& each : generation(can)) all.insert(each);
    if (!can.contains("cache") || can["cache"].is_null()) return all;
    if (!can["cache"].is_object()) refuse("can.cache is not an object or null");
    const auto& cache = can["cache"];
    all.insert("cache");
    if (boolean(cache, "chunks")) all.insert("cache.chunks");
    if (boolean(cache, "capacity")) all.insert("cache.capacity");
    if (boolean(cache, "fill")) all.insert("cache.fill");
    if (!axes().empty()) all.insert("cache.show");
    for (const auto& side : known_words(cache, "padding", {"right", "left"}))
      all.insert({"cache.padding", "cache.padding." + side});
    return all;
  }

  std::set<std::string> generation(const Json& can) const {
    if (!can.contains("generate") || can["generate"].is_null()) return {};
    if (!can["generate"].is_object()) refuse("can.generate is not an object or null");
    const auto& generate = can["generate"];
    std::set<std::string> all{"generate"};
    for (const auto& setting : known_words(
             generate, "settings", {"temperature", "top_k", "top_p", "repetition_penalty", "end", "seed"}))
      all.insert("generate." + setting);
    for (const auto& side : known_words(generate, "padding", {"right", "left"}))
      all.insert("generate.padding." + side);
    if (boolean(generate, "probabilities")) all.insert("generate.probabilities");
    if (boolean(generate, "greedy") || all.contains("generate.temperature")) all.insert("generate.greedy");
    return all;
  }

  std::vector<std::int64_t> axes() const {
    const auto& cache = fields_.at("can").value("cache", Json());
    if (!cache.is_object() || !cache.contains("axes") || cache["axes"].is_null()) return {};
    const auto& names = cache["axes"];
    const auto refuse_axes = [&] {
      refuse("can.cache.axes has to name batch, position, head and size, each once");
    };
    if (!names.is_array() || names.size() != 4) refuse_axes();
    std::vector<std::int64_t> order;
    for (const auto* axis : {"batch", "position", "head", "size"}) {
      const auto found = std::find(names.begin(), names.end(), axis);
      if (found == names.end()) refuse_axes();
      order.push_back(found - names.begin());
    }
    return order;
  }

 private:
  static bool has_kind_of(const Json& value, const Json& example) {
    if (example.is_integer()) return value.is_integer_from(1, 1 << 30);
    if (example.is_number()) return value.is_number();
    return value.kind() == example.kind();
  }
  bool boolean(const Json& object, const char* key) const {
    if (!object.contains(key)) return false;
    if (!object[key].is_boolean()) refuse(fmt::format("can: '{}' is not true or false", key));
    return object[key].get<bool>();
  }
  std::vector<std::string> known_words(const Json& object, const char* key,
                                       const std::vector<std::string>& known) const {
    std::vector<std::string> all;
    if (!object.contains(key) || object[key].is_null()) return all;
    if (!object[key].is_array()) refuse(fmt::format("can: '{}' is not a list", key));
    for (const auto& word : object[key]) {
      if (!word.is_string() || std::find(known.begin(), known.end(), word.get<std::string>()) == known.end())
        refuse(fmt::format("can: '{}' lists {}; known are {}", key, printable(word.dump({.ascii = true}), 60),
                           fmt::join(known, ", ")));
      all.push_back(word.get<std::string>());
    }
    return all;
  }

  const Json& fields_;
  std::map<std::string, Setting> known_;
  std::string name_;
};

}  // namespace

Hello read_hello(const Json& fields, const Specification& specification, at::ScalarType type,
                 const std::string& name) {
  const HelloReader reader(fields, specification_settings(specification, ""), name);
  if (!fields.contains("protocol") || fields["protocol"] != 1) reader.refuse("expected protocol 1");
  Hello hello;
  hello.capabilities = reader.capabilities();
  hello.cache_axes = reader.axes();
  if (type_named(reader.text("dtype")) != type)
    reader.refuse(fmt::format("it runs in {}, but {} was requested", reader.text("dtype"), type_name(type)));
  reader.text("device");
  hello.parameters = reader.parameters();
  hello.tied = reader.tied();
  for (const auto& group : hello.tied)
    for (const auto& parameter : hello.parameters)
      if (parameter.name != group.front() &&
          std::find(group.begin(), group.end(), parameter.name) != group.end())
        reader.refuse(fmt::format(
            "tied: 'parameters' lists '{}', but only the first name of a group belongs there, '{}'",
            parameter.name, printable(group.front(), 80)));
  hello.mapping = reader.mapping();
  hello.configuration = reader.configuration();
  hello.stages = reader.stages();
  hello.notes = reader.notes();
  hello.lines = reader.lines();
  hello.name = reader.text("name");
  hello.framework = reader.text("framework");
  return hello;
}

}  // namespace plumbline
