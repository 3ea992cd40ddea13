// The commands of this program: of plumbline (commands.cpp), plumbline-models (models.cpp) or
// plumbline-studies (studies.cpp).
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
void add_inspect(Command& all);
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

// A command as the list of all names it. What needs LibTorch is in a program of its own, which takes a fifth
// of a second to begin; what no verification needs, in a third, which need not be built.
struct CommandEntry {
  const char* name;
  const char* what;
  const char* program;  // that has it
};
constexpr const char* kPlumbline = "plumbline";
constexpr const char* kModels = "plumbline-models";
constexpr const char* kStudies = "plumbline-studies";

constexpr CommandEntry verify_entry{"verify", "Judge a candidate against a specification", kModels};
constexpr CommandEntry record_entry{
    "record", "Judge a live model and keep its answers, to judge or compare them elsewhere", kModels};
constexpr CommandEntry compare_entry{
    "compare", "Compare two candidates: did a refactor change anything? Neither is judged", kModels};
constexpr CommandEntry inspect_entry{
    "inspect", "Show what is understood of a PyTorch model: read it before you believe a verdict", kModels};
constexpr CommandEntry play_entry{"play", "Answer the candidate protocol from a recording", kModels};
constexpr CommandEntry adapter_entry{"adapter", "Write or try an adapter, which connects a live model",
                                     kModels};
constexpr CommandEntry sample_entry{"sample", "Let a candidate write text from prompts, greedy or sampled",
                                    kModels};
constexpr CommandEntry text_entry{"text", "Measure how repetitive texts are", kPlumbline};
constexpr CommandEntry log_entry{"log", "Judge the loss curve of a training run", kPlumbline};
constexpr CommandEntry experiment_entry{
    "experiment", "Find out by training which difference matters: experiment repeater", kStudies};
constexpr CommandEntry campaign_entry{
    "campaign", "Check that the suites fail every known defect and pass every honest variant", kStudies};
constexpr CommandEntry requirements_entry{
    "requirements", "List the requirements with their sources, tests and defects, or show one", kModels};
constexpr CommandEntry defects_entry{
    "defects", "List the known mistakes that a failing model is compared with, or explain one", kModels};
constexpr CommandEntry claims_entry{"claims", "Check nine claims about MiniMind2-Small, with exact figures",
                                    kModels};
constexpr CommandEntry report_entry{"report", "Render, merge, compare and check result documents",
                                    kPlumbline};
constexpr CommandEntry export_entry{
    "export", "Write the reference's own weights as a Hugging Face checkpoint", kModels};

}  // namespace plumbline
