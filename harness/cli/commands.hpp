// The commands of this program: of plumbline (commands.cpp) or of plumbline-studies (studies.cpp).
#pragma once

#include "harness/cli/command.hpp"

namespace plumbline {

void add_commands(Command& all);

// Each adds one command, or a few related ones.
void add_adapter(Command& all);
void add_campaign(Command& all);
void add_claims(Command& all);
void add_compare(Command& all);
void add_defects(Command& all);
void add_experiments(Command& all);
void add_export(Command& all);
void add_play(Command& all);
void add_record(Command& all);
void add_report(Command& all);
void add_requirements(Command& all);
void add_sample(Command& all);
void add_text_commands(Command& all);
void add_verify(Command& all);

constexpr const char* status_help =
    "Exit status: 0 conforms: every applicable must was assessed and passed.\n"
    "             1 does not conform: at least one must failed.\n"
    "             2 could not be judged: bad usage, unreadable or impossible input, broken evidence.\n"
    "             3 incomplete: nothing failed, but an applicable must was not assessed (always so with "
    "--only).";

// Commands without verification, in a separate program, which need not be built for verifying.
struct Study {
  const char* name;
  const char* what;
};
constexpr Study text_study{"text", "Measure how repetitive texts are"};
constexpr Study log_study{"log", "Judge the loss curve of a training run"};
constexpr Study experiment_study{"experiment",
                                 "Find out by training which difference matters: experiment repeater"};
constexpr Study campaign_study{"campaign",
                               "Check that the suites fail every known defect and pass every honest variant"};

}  // namespace plumbline
