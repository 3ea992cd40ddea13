// The context of a run, and the header of its documents.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "harness/candidate/candidate.hpp"
#include "harness/judging/recorder.hpp"
#include "harness/judging/subject.hpp"
#include "harness/model/specification.hpp"
#include "harness/result/result.hpp"
#include "reports/bundle.hpp"

namespace plumbline {

struct RunContext {
  Specification specification;
  std::filesystem::path data;                  // holds fixtures/ and golden/
  std::filesystem::path out;                   // where the documents go
  std::string device, dtype;                   // as shown in the header
  std::string version, command;                // of this program, and how it was called
  std::optional<reports::Commit> commit = {};  // of the candidate's files
  ProbeOptions probes = {};
  bool verbose = false;  // prints everything that was found
};

// `requirements`: the file in fixtures/ from which they are read.
reports::Header header_of(const RunContext& run, const Description& description, bool runs_code,
                          const std::string& requirements);

// The standard error of the candidates' programs, for the bundle.
std::vector<reports::File> logs_of(const std::vector<const Candidate*>& candidates);

std::vector<reports::Requirement> of_chapter(const Recorder& recorder, int chapter);

}  // namespace plumbline
