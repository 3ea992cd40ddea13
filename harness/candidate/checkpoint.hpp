// A checkpoint as a candidate: configuration, names, shapes, types and values. It has no code to run.
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "harness/candidate/candidate.hpp"

namespace plumbline {

// A directory with config.json is of kind "checkpoint", a lone weight file of kind "state_dict".
// Errors: InputError, see read_checkpoint and read_settings.
std::unique_ptr<Candidate> open_checkpoint(const std::filesystem::path& path, const std::string& python,
                                           const std::string& script_directory);

// Writes the specification's own deterministic weights as config.json and model.safetensors, both complete or
// not there at all. Errors: InputError when the directory is in use or cannot be written, see also
// llama_config.
void export_checkpoint(const Specification& specification, const std::filesystem::path& directory);

}  // namespace plumbline
