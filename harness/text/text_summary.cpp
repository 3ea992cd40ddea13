// What a terminal shows of a document of texts.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "harness/text/text_report.hpp"

namespace plumbline {
namespace {

constexpr std::size_t kShownLoops = 5;

std::string shown_interval(const Json& interval) {
  return interval.is_null() ? ""
                            : fmt::format("{} to {}", shown_number(interval["low"].get<double>()),
                                          shown_number(interval["high"].get<double>()));
}

std::string line_of_text(const char* name, const Json& text) {
  return fmt::format("{}: {}, {} samples of {} prompts, {} {}, {} text\n", name,
                     text["file"].get<std::string>(), text["samples"].dump(), text["prompts"].dump(),
                     text["tokens"].dump(), text["unit"].get<std::string>(),
                     text["strategy"].get<std::string>());
}

std::string shown_value(const Json& measured) {
  return measured["value"].is_null() ? "-" : shown_number(measured["value"].get<double>());
}

std::string line_of_metric(const Json& metric, bool compared) {
  auto line = fmt::format("{:<22}{:>10}  {:<20}", metric["id"].get<std::string>(), shown_value(metric),
                          metric["value"].is_null() && !compared
                              ? fmt::format("not measurable: {}", metric["reason"].get<std::string>())
                              : shown_interval(metric["interval"]));
  if (compared) {
    const auto& difference = metric["difference"];
    line += fmt::format("{:>10}{:>12}  {:<20}", shown_value(metric["baseline"]),
                        difference.is_null() ? "-" : shown_number(difference["value"].get<double>()),
                        difference.is_null() ? "" : shown_interval(difference["interval"]));
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

std::string line_of_loop(const Json& loop) {
  const auto tokens = loop["end"].get<std::size_t>() - loop["begin"].get<std::size_t>();
  return fmt::format("  sample {} (line {}): a block of {} said {:.1f} times, from token {} of {}{}\n",
                     loop["sample"].dump(), loop["line"].dump(), loop["period"].dump(),
                     static_cast<double>(tokens) / loop["period"].get<double>(),
                     loop["begin"].get<std::size_t>() + 1, loop["of"].dump(),
                     loop["to_the_end"] == true ? " to the end" : fmt::format(" to {}", loop["end"].dump()));
}

}  // namespace

std::string shown_number(double value) {
  const double size = std::abs(value);
  return size != 0 && (size < 1e-3 || size >= 1e5) ? fmt::format("{:.3g}", value)
                                                   : fmt::format("{:.4g}", value);
}

std::string text_summary(const Json& document) {
  std::string out = line_of_text("text", document["text"]);
  const bool compared = !document["baseline"].is_null();
  if (compared) out += line_of_text("baseline", document["baseline"]);
  for (const auto& note : document["text"]["notes"])
    out += fmt::format("note: {}\n", note.get<std::string>());
  out += fmt::format("\n{:<22}{:>10}  {:<20}", "", "value", "95 % interval");
  if (compared) out += fmt::format("{:>10}{:>12}  {:<20}", "baseline", "difference", "interval");
  out += '\n';
  for (const auto& metric : document["metrics"]) out += line_of_metric(metric, compared);
  const auto& loops = document["loops"];
  if (loops["samples"] != 0)
    out += fmt::format("\n{} of {} samples have a loop:\n", loops["samples"].dump(),
                       document["text"]["samples"].dump());
  for (std::size_t i = 0; i < std::min(loops["listed"].size(), kShownLoops); ++i)
    out += line_of_loop(loops["listed"][i]);
  out += '\n';
  for (const auto& one : document["verdict"]["deciding"])
    out += fmt::format("{}: {}\n", one["finding"].get<std::string>(), one["sentence"].get<std::string>());
  return out + fmt::format("{}\n", document["verdict"]["sentence"].get<std::string>());
}

}  // namespace plumbline
