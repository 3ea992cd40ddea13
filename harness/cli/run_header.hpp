// What is the same of every run, and what a document says of the run that it is of.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "harness/candidate/candidate.hpp"
#include "harness/judging/recorder.hpp"
#include "harness/model/specification.hpp"
#include "harness/result/result.hpp"
#include "reports/bundle.hpp"

namespace plumbline {

struct Circumstances {
  Specification specification;
  std::filesystem::path data;                  // holds fixtures/ and golden/
  std::filesystem::path out;                   // where the documents go
  std::string device, dtype;                   // as shown in the header
  std::string version, command;                // of this program, and how it was called
  std::optional<reports::Commit> commit = {};  // of the candidate's files
};

// `requirements`: the file of fixtures/ that they are read from.
reports::Header header_of(const Circumstances& run, const Description& description, bool runs_code,
                          const std::string& requirements);

// What the candidates' programs wrote, for the bundle.
std::vector<reports::File> logs_of(const std::vector<const Candidate*>& candidates);

std::vector<reports::Requirement> of_chapter(const Recorder& recorder, int chapter);

}  // namespace plumbline
