#include "harness/cli/commands.hpp"

namespace plumbline {

void add_commands(Command& all) {
  const auto elsewhere = [&](const CommandEntry& entry) {
    all.external(entry.name, entry.what, entry.program);
  };
  for (const auto& entry :
       {verify_entry, inspect_entry, record_entry, compare_entry, play_entry, adapter_entry, sample_entry})
    elsewhere(entry);
  add_text_commands(all);
  for (const auto& entry :
       {experiment_entry, campaign_entry, requirements_entry, defects_entry, claims_entry})
    elsewhere(entry);
  add_report(all);
  elsewhere(export_entry);
}

}  // namespace plumbline
