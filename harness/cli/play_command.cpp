#include <memory>
#include <string>

#include "harness/candidate/live.hpp"
#include "harness/cli/commands.hpp"

namespace plumbline {

void add_play(Command& all) {
  auto command = all.command(play_entry.name, play_entry.what);
  const auto file = std::make_shared<std::string>();
  command.option("recording", *file, "a recording (.h5)").required();
  command.footer("Exit status: 0 every request was answered; 2 a request is not JSON.");
  command.runs([file](const CommandContext&) {
    play_recording(*file);
    return 0;
  });
}

}  // namespace plumbline
