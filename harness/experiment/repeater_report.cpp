// What a reader sees of the experiment: the terminal's lines, and a report in Markdown.
#include <fmt/format.h>

#include <cmath>

#include "harness/experiment/repeater_effects.hpp"

namespace plumbline {
namespace {

std::string value_with_interval(const Json& metric) {
  if (metric["value"].is_null()) return "not measurable";
  if (!metric.contains("low")) return fmt::format("{:.2f}", metric["value"].get<double>());
  return fmt::format("{:.2f} ({:.2f} to {:.2f})", metric["value"].get<double>(), metric["low"].get<double>(),
                     metric["high"].get<double>());
}

std::string table_of_effects(const Json& document, const std::string& among) {
  std::string table = "| as before instead of as after |";
  for (const auto& response : document["responses"])
    table += fmt::format(" {} |", response["title"].get<std::string>());
  table += "\n| --- |";
  for (std::size_t i = 0; i < document["responses"].size(); ++i) table += " --- |";
  table += "\n";
  for (const auto& factor : document["factors"]) {
    std::string row;
    for (const auto& response : document["responses"])
      if (const auto* effect = effect_of(document, response["id"].text(), among, factor["id"].text()))
        row += fmt::format(" {} ({} to {}) |", shown_effect((*effect)["value"].get<double>()),
                           shown_effect((*effect)["low"].get<double>()),
                           shown_effect((*effect)["high"].get<double>()));
    if (!row.empty()) table += fmt::format("| {} |{}\n", factor["name"].get<std::string>(), row);
  }
  return table;
}

}  // namespace

std::string shown_effect(double value) {
  return fmt::format("{:+.2f}", std::abs(value) < 0.005 ? 0.0 : value);
}

const Json* effect_of(const Json& document, const std::string& response, const std::string& among,
                      const std::string& factor) {
  for (const auto& effect : document["effects"])
    if (effect["response"] == response && effect["among"] == among &&
        effect["factors"] == Json::array({factor}))
      return &effect;
  return nullptr;
}

std::string repeater_summary(const Json& document) {
  std::string text = "\n";
  for (const auto& answer : document["answers"]) text += fmt::format("{}\n", answer.get<std::string>());
  text += "\n";
  for (const auto& claim : document["claims"])
    text += fmt::format(
        "{} {}: {}\n   {}\n", claim["id"].get<std::string>(), claim["claim"].get<std::string>(),
        claim["verdict"] == "open" ? "neither confirmed nor refuted" : claim["verdict"].get<std::string>(),
        claim["figure"].get<std::string>());
  return text + fmt::format("\nAll of this was {}; small-scale evidence is no proof for larger models.\n",
                            document["scale"].get<std::string>());
}

std::string repeater_report(const Json& document) {
  std::string text = "# Which difference makes the model repeat itself?\n\n";
  for (const auto& answer : document["answers"]) text += fmt::format("- {}\n", answer.get<std::string>());
  text += fmt::format(
      "\nAll of this was {}. It is evidence at that scale and no proof for larger models. The text: {}.\n\n"
      "![loss curves](loss.svg)\n\n![effects](effects.svg)\n\n## Claims\n\n| claim | verdict | figure |\n| "
      "--- | --- | --- |\n",
      document["scale"].get<std::string>(), document["text"]["sentence"].get<std::string>());
  for (const auto& claim : document["claims"])
    text += fmt::format("| {}: {} | {} | {} |\n", claim["id"].get<std::string>(),
                        claim["claim"].get<std::string>(), claim["verdict"].get<std::string>(),
                        claim["figure"].get<std::string>());
  text += "\n## What was varied\n\n| | as before | as after |\n| --- | --- | --- |\n";
  for (const auto& factor : document["factors"])
    text += fmt::format("| {} | {} | {} |\n", factor["name"].get<std::string>(),
                        factor["before"].get<std::string>(), factor["after"].get<std::string>());
  text +=
      "\nHalf of the 32 combinations, those with an odd number of factors as before, each with every seed: a "
      "2^(5-1) design of resolution V. The mask is inverted only in training; text is written with the right "
      "mask, through the cache. Every run trains on the same number of tokens, drawn for this run from the "
      "same source, with the same schedule. Intervals of effects come from runs that differ in their seed "
      "alone, "
      "those of "
      "a single run from its prompts.\n\n"
      "## Effects, with 95 % intervals\n\nIn all runs:\n\n" +
      table_of_effects(document, "all") + "\nIn runs with the right mask:\n\n" +
      table_of_effects(document, "right mask") + "\nIn runs with the inverted mask:\n\n" +
      table_of_effects(document, "inverted mask");
  text +=
      "\n## Repetition of the text itself\n\n| | looping | seq-rep-4 | distinct-1 |\n| --- | --- | --- | --- "
      "|\n";
  for (const auto& [strategy, metrics] : document["own_text"].items())
    text += fmt::format("| {} | {} | {} | {} |\n",
                        strategy == "greedy" ? "always its likeliest token" : "its next tokens",
                        value_with_interval(metrics["looping"]), value_with_interval(metrics["seq-rep-4"]),
                        value_with_interval(metrics["distinct-1"]));
  text +=
      "\n## Every run\n\nA run's name says of layers, key/value heads, mask, initialisation and dropout, in "
      "this "
      "order, whether each is as before (B) or after (A), and the seed.\n\n"
      "| run | parameters | training loss | held-out loss | looping, greedy | seq-rep-4, greedy | seq-rep-4, "
      "sampled | gradient norm |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n";
  for (const auto& run : document["runs"])
    text += fmt::format("| {} | {} | {:.2f} | {:.2f} | {} | {} | {} | {:.2f} |\n",
                        run["name"].get<std::string>(), run["parameters"].get<std::int64_t>(),
                        run["training_loss"].get<double>(), run["held_out_loss"].get<double>(),
                        value_with_interval(run["writes"]["greedy"]["looping"]),
                        value_with_interval(run["writes"]["greedy"]["seq-rep-4"]),
                        value_with_interval(run["writes"]["sampled"]["seq-rep-4"]),
                        run["gradient_norm"]["median"].get<double>());
  return text;
}

}  // namespace plumbline
