// What a terminal shows of the document of a training log.
#include <fmt/format.h>

#include <algorithm>

#include "harness/training_log/training_log.hpp"

namespace plumbline {

std::string log_summary(const Json& document) {
  auto out = fmt::format("{}\n{}: {} entries, steps {:.0f} to {:.0f}, read as {}, column {}\n",
                         document["verdict"].text(), document["file"].text(), document["entries"].dump(),
                         document["steps"][0].get<double>(), document["steps"][1].get<double>(),
                         document["read_as"].text(), document["column"].text());
  for (const auto& note : document["notes"]) out += fmt::format("note: {}\n", note.text());
  out += '\n';
  std::vector<std::pair<std::string, std::string>> advice;  // what to do, and about which findings
  // What decides comes first.
  for (const bool deciding : {true, false})
    for (const auto& finding : document["findings"]) {
      const auto verdict = finding["verdict"].text(), id = finding["id"].text(),
                 next = finding["next"].text();
      if ((finding["level"] == "must" && verdict != "pass") != deciding) continue;
      out += fmt::format("{:<12} {:<11} {}\n", verdict, id, finding["sentence"].text());
      if (next.empty()) continue;
      const auto same =
          std::find_if(advice.begin(), advice.end(), [&](auto& one) { return one.first == next; });
      if (same == advice.end())
        advice.emplace_back(next, id);
      else
        same->second += ", " + id;
    }
  if (!advice.empty()) out += '\n';
  for (const auto& [next, findings] : advice) out += fmt::format("next ({}): {}\n", findings, next);
  return out;
}

}  // namespace plumbline
