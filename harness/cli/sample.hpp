// `plumbline sample`: generates text for prompts from a file and writes samples to a file.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "harness/candidate/candidate.hpp"
#include "harness/candidate/generation.hpp"

namespace plumbline {

struct SamplingRun {
  std::string prompts;    // .jsonl with `ids` or a `prompt` in each line, else a prompt a line of text
  std::string output;     // .jsonl
  std::string tokenizer;  // a tokenizer.json; empty: prompts are ids
  GenerationOptions options;
  // The interpreter and scripts that read the tokenizer.
  std::string python;
  std::filesystem::path scripts;
};

// Writes a line for each sample: prompt, ids, text, whether it ended, how it was drawn, its least margin.
// Returns the exit status. Errors: InputError, also for failures of the candidate.
int sample(SamplingRun run, std::unique_ptr<Candidate> candidate, const Specification& specification);

}  // namespace plumbline
